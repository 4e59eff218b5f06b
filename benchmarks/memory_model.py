"""Compare predicted peaks of memory with the measured peaks of short training runs, each in a process of its own.

The measured number is the peak of the resident memory (VmHWM) after the loading of the model, minus the resident memory
at the end of a run with a tiny trunk and the same game, tokenizer, optimizer and number of processes. The difference
covers what the prediction counts: the tensors of the model, the rollout, the update, the gradient step and the
checkpoint. `MALLOC_MMAP_THRESHOLD_=131072` returns the memory of large tensors to the system as soon as they are freed;
`--default-allocator` measures without it. Each case takes two gradient steps, of which the first creates the moments.
Mapped weights are read from their file only when they are used. Without shards, all are therefore read before the run.

Some cases have a second result, `first`: the prediction that was committed before the case was measured, and the
measurement of that time. Their other prediction is that of a later model, and thus a weaker test. Without shards, the
measurements in `first` include the game and the tokenizer, because the memory after a bandit run of `pico` was
subtracted. `measured_threshold_1000000` was measured with a higher threshold.

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
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.memory_cases import BASE, CASES, LLAMA, TINY, TUNING, Case

THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "131072"}
KEPT = ("program", "prefix_sharing", "tokens")
FIRST = ("predicted", "measured", "ratio")
"""Keys of a row that `first` keeps when the prediction is made again (see the module docstring).

`KEPT` contains keys of the result of `measure` that a row stores too.
"""
PROJECT = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def config_of(case: Case, trunk: str) -> Any:
    """Return the `TrainConfig` of a case. `trunk` is the folder of a trunk with random weights."""
    from agents.training.presets import resolve

    settings = BASE | case | ({"trunk": trunk} if "of" in case else {})
    return resolve({name: value for name, value in settings.items() if name not in ("of", "shards")})


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
    from agents.training.memory_estimate import context_of, run_sizes
    from agents.training.memory_prediction import forecast

    with random_trunk(case, weights=False) as trunk:
        config = config_of(case, trunk)
        memory = forecast(config, ranks=case.get("shards", 1))
        predicted = memory.predict(**run_sizes(config, context_of(config, memory.model)))
    phases, parts = ({name: size / 1e6 for name, size in of.items()} for of in (predicted.phases, asdict(predicted)))
    return {"predicted": predicted.peak / 1e6, "phases": phases, "components": parts}


def measure(case: Case, settings: Mapping[str, str]) -> dict[str, float]:
    """Run a case, and the same case with a tiny trunk, in fresh processes with the environment variables `settings`.

    Return the memory of the tiny run (`program`), and the peaks of the case above it, in MB: while the model is loaded
    (`load`), and afterwards (`run`). `tokens` is the number of tokens in the largest micro-batch.
    """
    program, own = _run(tiny_of(case), settings)["resident"], _run(case, settings)
    peaks = {name: own[name] - program for name in ("load", "run")}
    return peaks | {"program": program, "prefix_sharing": own["prefix_sharing"], "tokens": own["tokens"]}


def tiny_of(case: Case) -> Case:
    """Return the case with a trunk that needs almost no memory."""
    from agents.config import SCRATCH

    if case["trunk"] in SCRATCH:
        return {**case, "trunk": "pico"}
    return {**case, "trunk": "random", "of": {**case.get("of", LLAMA), **TINY}, "lora_layers": None}


def _run(case: Case, settings: Mapping[str, str]) -> dict[str, float]:
    """Run a case in fresh processes. Return the maximum of each measurement over the processes."""
    with random_trunk(case, weights=False) as place, tempfile.TemporaryDirectory() as runs:
        if "of" in case:  # in another process, whose memory does not count
            words = [sys.executable, "-c", _SAVE, json.dumps(case), place]
            subprocess.run(words, env=os.environ | PROJECT, check=True)
        words = ["-m", "benchmarks.memory_model", "--child", json.dumps(case), "--trunk", place]
        if "shards" in case:
            options = ("--config_file", "configs/fsdp2-cpu.yaml", "--num_processes", str(case["shards"]))
            words = ["-m", "accelerate.commands.launch", *options, *words]
        environment = {**os.environ, **PROJECT, "OMP_NUM_THREADS": "1", "MEMORY_MODEL_FOLDER": runs, **settings}
        subprocess.run([sys.executable, *words], env=environment, check=True)
        found = [json.loads(path.read_text()) for path in Path(runs).glob("process-*.json")]
    return {name: max(numbers[name] for numbers in found) for name in found[0]}


_SAVE = """
import json, shutil, sys
from benchmarks.memory_model import random_trunk
with random_trunk(json.loads(sys.argv[1]), weights=True) as folder:
    shutil.copytree(folder, sys.argv[2], dirs_exist_ok=True)
"""


def child(case: Case, trunk: str) -> None:
    """Train the case in this process, and write what it measured to a file."""
    from agents.training.factory import make_trainer
    from agents.training.rollout_batch import RolloutBatch

    passes, micro_batches = [], RolloutBatch.micro_batches

    def noting(*args: Any, **options: Any) -> Iterator[Any]:
        for part in micro_batches(*args, **options):
            passes.append(part.tokens.numel())
            yield part

    RolloutBatch.micro_batches = noting  # type: ignore[method-assign]
    folder = Path(os.environ["MEMORY_MODEL_FOLDER"])
    trainer = make_trainer(config_of(case, trunk), folder / "run")
    numbers = {"load": peak() / 1e6}
    for parameter in () if "shards" in case else trainer.updater.model.parameters():
        parameter.sum()  # reads the weights from the mapped file, also those of rare words
    reset_peak()
    sharing = max(metrics["prefix_sharing"] for metrics in trainer.run())
    numbers |= {"run": peak() / 1e6, "prefix_sharing": sharing, "tokens": max(passes)}
    gc.collect()
    numbers["resident"] = resident() / 1e6
    (folder / f"process-{os.getpid()}.json").write_text(json.dumps(numbers))


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.parser(
        __doc__,
        timed=False,
        measure=(False, "measure the cases whose predictions --out holds"),
        default_allocator=(False, "measure with the allocator's defaults"),
        only=(str, "names of cases, separated by commas"),
        tuning=(False, "take the cases on which the model was developed"),
        child=(json.loads, argparse.SUPPRESS),
        trunk=(str, argparse.SUPPRESS),
    ).parse_args(arguments)
    if options.child:
        child(options.child, options.trunk)
        return
    cases = TUNING if options.tuning else CASES
    rows: dict[str, Any] = harness.read(options.out).get("cases", {})
    for name in options.only.split(",") if options.only else cases:
        if not options.measure or options.tuning:
            before = rows.get(name, {})
            first = before.get("first") or ({key: before[key] for key in FIRST} if "measured" in before else None)
            rows[name] = {"settings": cases[name], **predict(cases[name])} | ({"first": first} if first else {})
        if options.measure:
            found = measure(cases[name], {} if options.default_allocator else THRESHOLD)
            kind = "_default" if options.default_allocator else ""
            ratio = rows[name]["predicted"] / found["run"]
            rows[name] |= {f"measured{kind}": found["run"], f"ratio{kind}": ratio}
            rows[name] |= {"measured_load": found["load"], **{key: found[key] for key in KEPT}}
        print(name, {key: round(x, 3) for key, x in rows[name].items() if isinstance(x, float)}, flush=True)
        harness.report("memory_model", options, arguments, cases=rows)


if __name__ == "__main__":
    main()
