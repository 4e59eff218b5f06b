"""Compare our rollout and update with forward and backward passes of the bare trunk over the same tokens.

    python -m benchmarks.bare_trunk [--trunks small,smollm2] [--episodes N] [--turns N] [--out FILE]

For each trunk, four tasks alternate. The settings are the presets of `train` for TextWorld (bf16 and LoRA for SmolLM2).
The games are tapes (recorded episodes):

    forward     the trunk alone over every segment of a rollout, without gradient, in the update's micro-batches
    rollout     the agent plays these episodes: tokenizer, cache, tries, heads, sampling, records
    backward    forward and backward to the same trained parameters, in the update's epochs, mini- and micro-batches
    update      `Updater.learn`: targets, heads, losses, the same passes, gradient clipping, the optimizer's step

The reported ratios are rollout / forward and update / backward. The bare trunk has no heads and no loss, so its
backward pass starts with a gradient of ones at the last hidden states. `update` and `backward` include the same
padding. `forward` does not include the padding of the rollout. The learning rate is 0, so that all rounds are equal.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.training.rollout_batch import RolloutBatch, micro_batches
from benchmarks import harness
from benchmarks.players import Player, tokens_in
from benchmarks.recorded_episodes import recorded_episodes

NO_LEARNING = {"lr": 0.0, "value_lr": 0.0, "q_lr": 0.0}


@torch.no_grad()
def forward(model: ActorCritic, rollout: RolloutBatch, budget: int) -> None:
    """Run the trunk once over the rollout's tokens, in micro-batches of at most `budget` tokens."""
    for rows in micro_batches(rollout, range(len(rollout)), budget):
        model.hidden_states(rollout.micro_batch(rows).tokens, use_cache=False)


def backward(model: ActorCritic, rollout: RolloutBatch, config: UpdateConfig) -> None:
    """Run the trunk forward and backward over the rollout's tokens, in the minibatches and epochs of the update."""
    for _ in range(config.epochs):
        for share in np.array_split(np.arange(len(rollout)), min(config.minibatches, len(rollout))):
            for rows in micro_batches(rollout, share.tolist(), config.micro_batch_tokens):
                hidden = model.hidden_states(rollout.micro_batch(rows).tokens, use_cache=False)
                torch.autograd.backward(hidden, torch.ones_like(hidden))
            model.zero_grad(set_to_none=True)


def measure(trunk: str, episodes: int, turns: int, rounds: int) -> dict[str, Any]:
    """Time all four tasks with a trunk. Return the seconds, and the ratios rollout / forward and update / backward."""
    player = Player({"trunk": trunk, "optimizer": "ppo", "episodes": episodes, "parallel": episodes} | NO_LEARNING)
    specs, model, update = recorded_episodes(episodes, turns), player.config.model, player.config.update
    rollout = player.rollout(specs)
    seconds = harness.alternate(
        {
            "forward": lambda: forward(player.model, rollout, update.micro_batch_tokens),
            "rollout": lambda: player.rollout(specs),
            "backward": lambda: backward(player.model.train(), rollout, update),
            "update": lambda: player.update(rollout),
        },
        rounds,
    )
    return {
        "trunk": trunk,
        "dtype": model.dtype,
        "lora": model.lora,
        "epochs": update.epochs,
        "minibatches": update.minibatches,
        "trained": sum(p.numel() for p in player.model.parameters() if p.requires_grad),
        "tokens": tokens_in(rollout),
        "choices": sum(len(segment.choices) for segment in rollout.segments),
        "seconds": seconds,
        "rollout": harness.ratios(seconds["rollout"], seconds["forward"]),
        "update": harness.ratios(seconds["update"], seconds["backward"]),
    }


def line(row: dict[str, Any]) -> str:
    """Return a trunk's row of the table as text."""
    rates = [row["tokens"] / harness.summary(row["seconds"][name])["median"] for name in ("forward", "backward")]
    kind = f"{row['trunk']} {row['dtype']}" + (f" LoRA {row['lora']}" if row["lora"] else "")
    return (
        f"{kind:28} {row['tokens']:7} {rates[0]:12.0f} {harness.shown(row['rollout']):>20}"
        f" {rates[1] * row['epochs']:12.0f} {harness.shown(row['update']):>20}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    harness.begin(options.threads)
    print(f"{'':28} {'tokens':>7} {'forward t/s':>12} {'rollout / it':>20} {'fw+bw t/s':>12} {'update / it':>20}")
    rows = []
    for trunk in options.trunks.split(","):
        rows.append(measure(trunk, options.episodes, options.turns, options.rounds))
        print(line(rows[-1]), flush=True)
    harness.write(options.out, harness.document("bare_trunk", options, arguments, rows=rows))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--trunks", default="small,smollm2", help="trunks of `train`")
    parser.add_argument("--episodes", type=int, default=8, help="episodes per rollout, all played in parallel")
    parser.add_argument("--turns", type=int, default=10, help="turns per episode")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
