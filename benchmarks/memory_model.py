"""Compare predicted peaks of memory with the measured peaks of short training runs, each in a process of its own.

The measured number is the peak of the resident memory (VmHWM) between the loading of the model and the end of the run,
minus the resident memory of the same process after it has imported all libraries and trained a tiny agent. It thus
covers the model, the rollout, the update, the gradient step and the checkpoint. `MALLOC_MMAP_THRESHOLD_=131072` returns
the memory of large tensors to the system as soon as they are freed; `--default-allocator` measures without this
setting. Each case takes two gradient steps, of which the first creates the moments. `measured_threshold_1000000` is an
earlier measurement with a higher threshold.

    python -m benchmarks.memory_model --out benchmarks/memory_model.json                     # predicts
    python -m benchmarks.memory_model --out benchmarks/memory_model.json --measure           # adds measurements
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.harness import document, write
from benchmarks.memory import peak, reset_peak, resident

COIN = {"game": "textworld:coin?level=5&seed=1..50", "max_turns": 8, "optimizer": "ppo", "epochs": 1, "minibatches": 2}
"""Commands of a text adventure. Episodes are longer than the context, so streams fill it."""
BASE: dict[str, Any] = {"iterations": 1, "prefix_sharing": "off", "tracker": "none", **COIN}
SMOLLM2 = {"trunk": "smollm2", "dtype": "float32", "parallel": 4, "episodes": 4}
SMALL = {"trunk": "small", "lora": 0, "parallel": 16, "episodes": 16}
NEOX = {
    "model_type": "gpt_neox",
    "vocab_size": 49152,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "max_position_embeddings": 2048,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
RANDOM = {"trunk": "random", "dtype": "float32", "parallel": 4, "episodes": 4}

Case = dict[str, Any]
CASES: dict[str, Case] = {
    "smollm2-lora": {**SMOLLM2, "lora": 16, "context": 256, "micro_batch_tokens": 512},
    "smollm2-lora-checkpointing": {
        **SMOLLM2,
        "lora": 16,
        "context": 256,
        "micro_batch_tokens": 512,
        "gradient_checkpointing": True,
    },
    "smollm2-full-sharing": {**SMOLLM2, "lora": 0, "context": 256, "micro_batch_tokens": 512, "prefix_sharing": "auto"},
    "smollm2-lora-bfloat16": {
        **SMOLLM2,
        "lora": 16,
        "dtype": "bfloat16",
        "context": 128,
        "micro_batch_tokens": 128,
        "parallel": 2,
        "episodes": 2,
    },
    "small": {**SMALL, "max_turns": 20, "context": 1024, "micro_batch_tokens": 8192},
    "small-checkpointing": {
        **SMALL,
        "max_turns": 20,
        "context": 1024,
        "micro_batch_tokens": 8192,
        "gradient_checkpointing": True,
    },
    "neox-full-checkpointing": {
        **RANDOM,
        "of": NEOX,
        "lora": 0,
        "context": 256,
        "micro_batch_tokens": 512,
        "gradient_checkpointing": True,
    },
    "neox-lora-kl": {**RANDOM, "of": NEOX, "lora": 8, "context": 256, "micro_batch_tokens": 512, "kl_coef": 0.1},
    "llama-full-kl-copy": {**RANDOM, "of": LLAMA, "lora": 0, "context": 256, "micro_batch_tokens": 512, "kl_coef": 0.1},
    "llama-full-two-shards": {**RANDOM, "of": LLAMA, "lora": 0, "context": 256, "micro_batch_tokens": 512, "shards": 2},
}
"""Settings of each case. `of` is the configuration of a trunk with random weights, `shards` the number of processes."""
TUNING: dict[str, Case] = {
    "llama-full": {**RANDOM, "of": LLAMA, "lora": 0, "context": 256, "micro_batch_tokens": 512},
    "llama-lora": {**RANDOM, "of": LLAMA, "lora": 8, "context": 256, "micro_batch_tokens": 512},
    "llama-small-shards": {
        **RANDOM,
        "of": {**LLAMA, "num_hidden_layers": 4},
        "lora": 0,
        "context": 256,
        "micro_batch_tokens": 512,
        "shards": 2,
    },
}
"""Cases on which the model and the measurement were developed. They are not part of the report."""
THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "131072"}
PROJECT = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
"""The environment variable with which a child finds this package, because the current folder may not be on its path."""


def config_of(case: Case, trunk: str) -> Any:
    """Return the `TrainConfig` of a case. `trunk` is the folder of a trunk with random weights."""
    from agents.training.presets import resolve

    flat = {name: value for name, value in (BASE | case).items() if name not in ("of", "shards")}
    return resolve(flat | ({"trunk": trunk} if "of" in case else {}))


@contextmanager
def random_trunk(case: Case, *, weights: bool) -> Iterator[str]:
    """Provide the folder of the trunk of `case`: its configuration and, with `weights`, the weights and a tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        if "of" in case:
            (Path(folder) / "config.json").write_text(json.dumps(case["of"]))
        if "of" in case and weights:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from agents.model.pretrained import read_trunk_config, smollm2_folder

            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(read_trunk_config(folder)).save_pretrained(folder)
            AutoTokenizer.from_pretrained(smollm2_folder()).save_pretrained(folder)
        yield folder


def predict(case: Case) -> dict[str, Any]:
    """Return the prediction for a case: the peak, the phases and the components in MB."""
    from dataclasses import asdict

    from agents.training.memory_estimate import context_of, run_sizes
    from agents.training.memory_forecast import forecast

    with random_trunk(case, weights=False) as trunk:
        config = config_of(case, trunk)
        memory = forecast(config, ranks=case.get("shards", 1))
        predicted = memory.predict(**run_sizes(config, context_of(config, memory.model)))
    parts = {name: size / 1e6 for name, size in asdict(predicted).items()}
    phases = {name: size / 1e6 for name, size in predicted.phases.items()}
    return {"predicted": predicted.peak / 1e6, "phases": phases, "components": parts}


def measure(case: Case, settings: Mapping[str, str]) -> dict[str, float]:
    """Run a case in fresh processes with these environment variables, and return what process 0 measured, in MB."""
    with random_trunk(case, weights=False) as place, tempfile.TemporaryDirectory() as runs:
        if "of" in case:  # in another process, whose memory does not count
            words = [sys.executable, "-c", _SAVE, json.dumps(case), place]
            subprocess.run(words, env=os.environ | PROJECT, check=True)
        launcher, shards = [], case.get("shards")
        if shards:
            options = ("--config_file", "configs/fsdp2-cpu.yaml", "--num_processes", str(shards))
            launcher = ["-m", "accelerate.commands.launch", *options]
        own = ("-m", "benchmarks.memory_model", "--child", json.dumps(case), "--trunk", place)
        words = [sys.executable, *launcher, *own]
        environment = {**os.environ, **PROJECT, "OMP_NUM_THREADS": "1", "MEMORY_MODEL_FOLDER": runs, **settings}
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line.removeprefix("MEASURED ")) for line in done.stdout.splitlines() if "MEASURED" in line]
    return {name: max(line[name] for line in lines) for name in lines[0]}


_SAVE = """
import json, shutil, sys
from benchmarks.memory_model import random_trunk
with random_trunk(json.loads(sys.argv[1]), weights=True) as folder:
    shutil.copytree(folder, sys.argv[2], dirs_exist_ok=True)
"""


def child(case: Case, trunk: str) -> None:
    """Train the case in this process, and print what it measured."""
    from agents.training.factory import make_trainer
    from agents.training.presets import resolve

    runs = Path(os.environ["MEMORY_MODEL_FOLDER"])
    tiny = {**BASE, "game": "bandit", "trunk": "pico", "lora": 0, "dtype": "float32", "episodes": 4, "minibatches": 1}
    for _ in make_trainer(resolve(tiny), runs / "tiny").run():
        pass
    gc.collect()
    baseline = resident()
    reset_peak()
    trainer = make_trainer(config_of(case, trunk), runs / "run")
    loaded = peak()
    reset_peak()
    sharing = max(metrics["prefix_sharing"] for metrics in trainer.run())
    numbers = {"load": (loaded - baseline) / 1e6, "run": (peak() - baseline) / 1e6, "prefix_sharing": sharing}
    print("MEASURED", json.dumps(numbers), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", action="store_true", help="measure the cases whose predictions --out holds")
    parser.add_argument("--default-allocator", action="store_true", help="measure with the allocator's defaults")
    parser.add_argument("--only", help="names of cases, separated by commas")
    parser.add_argument("--tuning", action="store_true", help="take the cases on which the model was developed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--trunk", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(json.loads(options.child), options.trunk)
        return
    cases = TUNING if options.tuning else CASES
    rows: dict[str, Any] = {}
    if options.out:
        with suppress(FileNotFoundError):
            rows = json.loads(options.out.read_text())["cases"]
    for name in options.only.split(",") if options.only else cases:
        if not options.measure or options.tuning:
            rows[name] = {"settings": cases[name], **predict(cases[name])}
        if options.measure:
            found = measure(cases[name], {} if options.default_allocator else THRESHOLD)
            kind = "_default" if options.default_allocator else ""
            ratio = rows[name]["predicted"] / found["run"]
            rows[name] |= {f"measured{kind}": found["run"], f"ratio{kind}": ratio}
            rows[name] |= {"measured_load": found["load"], "prefix_sharing": found["prefix_sharing"]}
        print(name, {key: round(x, 3) for key, x in rows[name].items() if isinstance(x, float)}, flush=True)
        write(options.out, document("memory_model", options, arguments, cases=rows))


if __name__ == "__main__":
    main()
