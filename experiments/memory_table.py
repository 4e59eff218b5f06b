"""Predict the memory of training runs: `python -m experiments.memory_table --out docs/memory.md`."""

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from actde.config import option
from agents.model.sharding import trunk_parameters
from agents.training.memory_estimate import USABLE, context_of, run_sizes
from agents.training.memory_prediction import MemoryModel, forecast
from agents.training.presets import resolve
from experiments import program
from experiments.tables import table
from games.files import atomic_write


def llama(
    hidden_size: int, intermediate_size: int, layers: int, heads: int, kv_heads: int, **changes: Any
) -> dict[str, Any]:
    """Return the content of a Llama model's `config.json`."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 128256,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        **changes,
    }


DECODERS: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": llama(576, 1536, 30, 9, 3, vocab_size=49152, tie_word_embeddings=True),
    "Llama-3.2-1B": llama(2048, 8192, 16, 32, 8, tie_word_embeddings=True),
    "Llama-3.2-3B": llama(3072, 8192, 28, 24, 8, tie_word_embeddings=True),
    "Llama-3.1-8B": llama(4096, 14336, 32, 32, 8),
    "GPT-NeoX-20B": {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "vocab_size": 50432,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    },
    "Llama-3.1-70B": llama(8192, 28672, 80, 64, 8),
}


class Method(NamedTuple):
    """How a model is trained.

    Attributes:
        lora: rank of the LoRA adapter, or 0 to train all weights.
        shards: number of devices that share the weights.
        by_layer: whether devices gather the weights by layer in play.
    """

    lora: int
    shards: int = 1
    by_layer: bool = False


METHODS = {
    "LoRA": Method(16),
    "LoRA, 8 shards by layer": Method(16, 8, by_layer=True),
    "all weights": Method(0),
    "8 shards": Method(0, 8),
    "8 shards by layer": Method(0, 8, by_layer=True),
    "64 shards by layer": Method(0, 64, by_layer=True),
}
DEVICES = (8, 16, 24, 40, 80, 141)  # memory of common GPUs, in GB
SETTINGS = {
    "game": "textworld:coin?level=1&seed=1..3",
    "dtype": "bfloat16",
    "gradient_checkpointing": True,
    "episodes": 8,
    "parallel": 8,
    "context": 1024,
    "micro_batch_tokens": 4096,
}


def peaks_and_parameters(
    decoder: Mapping[str, Any], methods: Mapping[str, Method] = METHODS
) -> Iterator[tuple[float, float]]:
    """Yield a pair for each method: predicted peak memory in GB, and number of parameters in billions."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(decoder))
        for method in methods.values():
            config = resolve({**SETTINGS, "trunk": folder, "lora": method.lora})
            model: MemoryModel = forecast(config, ranks=method.shards, by_layer=method.by_layer, on_gpu=True)
            peak = model.predict(**run_sizes(config, context_of(config, model.model))).peak
            yield peak / 1e9, sum(p.numel() for p in trunk_parameters(model.model)) / 1e9


def cell(gigabytes: float) -> str:
    """Format a peak memory in GB, with the smallest sufficient device's memory in brackets."""
    fitting = [device for device in DEVICES if gigabytes <= USABLE * device]
    return f"{gigabytes:,.3g} ({fitting[0]})" if fitting else f"{gigabytes:,.0f}"


def row(decoder: str) -> list[str]:
    predictions = list(peaks_and_parameters(DECODERS[decoder]))
    return [decoder, f"{predictions[0][1]:.3g}", *(cell(peak) for peak, _ in predictions)]


def document(command: str) -> str:
    """Return the page as Markdown."""
    options = " ".join(
        option(name) + ("" if value is True else f" {value}") for name, value in SETTINGS.items() if name != "game"
    )
    rows = table(["decoder", "10^9 parameters", *METHODS], map(row, DECODERS))
    return f"""# What fits where

Predicted peak memory of a training run per device, in GB, for well-known decoders. In brackets is the smallest of GPUs
with {", ".join(map(str, DEVICES[:-1]))} and {DEVICES[-1]} GB that has room for the run and a tenth to spare. A run
without brackets fits onto none of them.

Command: `{command}  # 2 min`.

{rows}

* LoRA has rank 16, and AdamW's moments for the adapter and the heads only. The other columns train all weights with
  AdamW.
* Each shard is on a GPU of its own. "By layer" is `--sharded-play layers`. Otherwise, every GPU holds the whole trunk
  in play.
* Settings of every run: `{options}`, the optimizer `actde` and no KL. Each GPU plays 8 episodes.
* From 8 billion parameters on, "all weights" peaks in the gradient step, where torch's AdamW on a GPU needs as much
  memory again as the weights in float32. From 3 billion on, "8 shards" peaks in play, where every GPU holds the whole
  trunk.
* [From one core to a cluster](scale.md) says how predictions compare with measurements on a CPU. Nothing in this table
  was measured on a GPU.
"""


def main(out: Annotated[Path, typer.Option(help="the page to write")]) -> None:
    """Write the table of what fits where."""
    atomic_write(out, [document(f"python -m experiments.memory_table {shlex.join(sys.argv[1:])}")])


if __name__ == "__main__":
    program.run(main)
