"""Compare our GRPO with TRL's GRPO trainer: time of a whole update with its rollout, and peak memory.

    python -m venv ../trl
    ../trl/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.21.2 gymnasium
    python -m benchmarks.grpo --peer ../trl/bin/python [--no-autocast] [--out FILE]

Both sides continue the same openings of the completion game, in groups of completions of the same opening. They have
the same model, dtype, adapter, threads, reward function, number of completions, maximum length, epochs, gradient steps
and micro-batches. The sides run alternately, each in its own process. A round is a rollout and its gradient steps:

    ours    the agent writes the completions and records their log-probabilities and v; the game scores them; then
            epochs x minibatches gradient steps
    TRL     `generate` of `transformers`; the same reward function; a pass that computes the log-probabilities before
            the update, since there are several gradient steps; then the same number of gradient steps

Both losses are clipped, with advantages that are divided by the standard deviation of their group. Our loss is a mean
over the tokens of a gradient step. TRL divides by the mean number of tokens of all gradient steps of an epoch, and its
variance divides by n - 1, which costs the same. There is no KL, so neither side has a reference model. The learning
rate is 0, so that all rounds are equal. Gradient checkpointing is off, because our side keeps its activations too. TRL
trains in mixed precision, which is also faster here, or with `--no-autocast` in the model's dtype, as our side does.

`update` is the time of the gradient steps alone, without TRL's additional pass. Memory is the peak of a process after
its model was loaded, minus the memory of the libraries imported until then. On a machine with other running processes,
use `--threads 1`: several threads that wait for each other lose much time.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.update import beside_trl, compare, model_folder, parse_peer, sides


def own_job(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """Return our side's job (see peers/own_trainer.py). Its settings are the presets for completion with SmolLM2."""
    settings = {
        "optimizer": "grpo",
        "game": f"completion?reward={options.reward}&max_tokens={options.tokens}&newlines=true",
        "mode": "free",
        "context": 512,
        "parallel": options.completions,
        "episodes": options.completions,
        "group_size": options.group,
        "trunk": model,
        "dtype": options.dtype,
        "lora": options.lora,
        "epochs": options.epochs,
        "minibatches": options.minibatches,
        "micro_batch_tokens": options.micro_tokens,
        "lr": 0.0,
        "value_lr": 0.0,
        "measure_kl": False,
    }
    return {"settings": settings, "episodes": options.completions}


def trl_job(options: argparse.Namespace, model: str, prompts: Sequence[str]) -> dict[str, Any]:
    """Return TRL's job (see peers/trl_grpo.py). A micro-batch is a whole gradient step."""
    same = ("dtype", "autocast", "lora", "reward", "group", "tokens", "epochs", "minibatches")
    return {
        "model": model,
        "prompts": list(prompts),
        "micro": options.completions // options.minibatches,
        "rounds": options.warm + options.rounds,
        "rate": 0.0,
        **{name: getattr(options, name) for name in same},
    }


def prompts(rollout: dict[str, Any], group: int) -> list[list[int]]:
    """Return the prompt of each group of our rollout, as token ids.

    Raises:
        ValueError: the prompts of a group differ.
    """
    tokens = [segment[: choices[0][0] + 1] for segment, choices in zip(*rollout.values(), strict=True)]
    groups = [tokens[start : start + group] for start in range(0, len(tokens), group)]
    if any(prompt != same[0] for same in groups for prompt in same):
        raise ValueError(f"the prompts of a group of {group} completions differ")
    return [same[0] for same in groups]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def peer(rollout: dict[str, Any]) -> dict[str, Any]:
        return trl_job(options, str(folder), tokenizer.batch_decode(prompts(rollout, options.group)))

    with beside_trl(options, own_job(options, str(folder)), "trl_grpo", peer) as (rollout, _, workers):
        written = {"ours": sum(map(len, rollout["choices"])), "trl": workers["trl"].answer()["written"]}
        read = options.group * sum(map(len, prompts(rollout, options.group)))
        return {
            "peer": workers["trl"].versions,
            "tokens": {name: read + round(tokens) for name, tokens in written.items()},
            "chosen": {name: round(tokens) for name, tokens in written.items()},
            **sides(workers, options.warm),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as name:
        measured = measure(options, model_folder(options.trunk, Path(name) / "model"))
    harness.report("grpo", options, arguments, **compare(measured, options.completions))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(
        __doc__,
        trunk=("smollm2", "smollm2 or the folder of a model"),
        dtype=("bfloat16", "float32 or bfloat16"),
        lora=(16, "rank of the adapter; 0: train the whole trunk"),
        reward=("length", "reward of the completion game"),
        completions=(32, "completions per rollout"),
        group=(8, "completions per opening"),
        tokens=(16, "maximum number of tokens of a completion"),
        epochs=(2, "epochs per update"),
        minibatches=(2, "gradient steps per epoch"),
        micro_tokens=(2048, "tokens per micro-batch of our side"),
        warm=(1, "warm-up rounds, not measured"),
    )
    parser.add_argument(
        "--autocast", action=argparse.BooleanOptionalAction, default=True, help="run TRL in mixed precision"
    )
    return parse_peer(parser, arguments)


if __name__ == "__main__":
    main()
