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
rate is 0, so that all rounds are equal. Gradient checkpointing is off, because our side keeps its activations too.
`update` is the time of the gradient steps alone. TRL's additional pass is not part of it.

TRL trains in mixed precision (autocast) by default, which is also faster here. With `--no-autocast`, TRL runs the model
in its own dtype, as our side does.

Memory is the peak of a process after its model was loaded, minus the memory of its libraries. A library that is
imported later counts as memory of its side.

On a machine with other running processes, use `--threads 1`: several threads that wait for each other lose much time.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.update import add_peer, beside_trl, compare, model_folder, show, sides


def own_job(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """Return our side's job (see peers/own_trainer.py). Its settings are the presets for completion with SmolLM2."""
    game = f"completion?reward={options.reward}&max_tokens={options.tokens}&newlines=true"
    rollout = {"game": game, "mode": "free", "context": 512, "parallel": options.completions}
    rollout |= {"episodes": options.completions, "group_size": options.group}
    model_settings = {"trunk": model, "dtype": options.dtype, "lora": options.lora}
    update = {"epochs": options.epochs, "minibatches": options.minibatches, "micro_batch_tokens": options.micro_tokens}
    update |= {"lr": 0.0, "value_lr": 0.0, "measure_kl": False}
    return {"settings": {"optimizer": "grpo"} | rollout | model_settings | update, "episodes": options.completions}


def trl_job(options: argparse.Namespace, model: str, prompts: Sequence[str]) -> dict[str, Any]:
    """Return TRL's job (see peers/trl_grpo.py). A micro-batch is a whole gradient step."""
    return {
        "model": model,
        "dtype": options.dtype,
        "autocast": options.autocast,
        "lora": options.lora,
        "prompts": list(prompts),
        "reward": options.reward,
        "group": options.group,
        "tokens": options.tokens,
        "epochs": options.epochs,
        "minibatches": options.minibatches,
        "micro": options.completions // options.minibatches,
        "rounds": options.warm + options.rounds,
        "rate": 0.0,
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
    """Return the seconds and the memory of both sides, which take rounds alternately."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as name:
        measured = measure(options, model_folder(options.trunk, Path(name) / "model"))
    ratios = compare(measured, options.completions)
    show(measured, ratios)
    harness.write(options.out, harness.document("grpo", options, arguments, found=measured, ratios=ratios))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--trunk", default="smollm2", help="smollm2 or the folder of a model")
    parser.add_argument("--dtype", default="bfloat16", help="float32 or bfloat16")
    parser.add_argument("--lora", type=int, default=16, help="rank of the adapter; 0: train the whole trunk")
    parser.add_argument("--reward", default="length", help="reward of the completion game")
    parser.add_argument("--completions", type=int, default=32, help="completions per rollout")
    parser.add_argument("--group", type=int, default=8, help="completions per opening")
    parser.add_argument("--tokens", type=int, default=16, help="maximum number of tokens of a completion")
    parser.add_argument("--epochs", type=int, default=2, help="epochs per update")
    parser.add_argument("--minibatches", type=int, default=2, help="gradient steps per epoch")
    parser.add_argument("--micro-tokens", type=int, default=2048, help="tokens per micro-batch of our side")
    parser.add_argument(
        "--autocast", action=argparse.BooleanOptionalAction, default=True, help="run TRL in mixed precision"
    )
    parser.add_argument("--warm", type=int, default=1, help="warm-up rounds, not measured")
    return add_peer(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
