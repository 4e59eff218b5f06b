"""Compare our rollout and update with forward and backward passes of the bare trunk over the same tokens.

    python -m benchmarks.bare_trunk [--trunks small,smollm2] [--episodes N] [--turns N] [--out FILE]

For each trunk, four tasks alternate. The settings are the presets of `train` for TextWorld (bf16 and LoRA for SmolLM2).
The games are tapes (recorded episodes):

    forward     the trunk alone over every segment of a rollout, without gradient, in the update's micro-batches
    rollout     the agent plays these episodes: tokenizer, cache, tries, heads, sampling, records
    backward    forward and backward to the same trained parameters, in the update's epochs, mini- and micro-batches
    update      `Updater.learn`: targets, heads, losses, the same passes, gradient clipping, the optimizer's step

The ratios are rollout / forward and update / backward. The bare trunk has no heads and no loss, so its backward pass
starts with a gradient of ones at the last hidden states. `forward` does not include the padding of the rollout, whereas
`update` and `backward` have the same padding. The learning rate is 0, so that all rounds are equal.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.training.rollout_batch import MicroBatch, RolloutBatch, micro_batch_rows
from benchmarks import harness
from benchmarks.players import Player, choices_in, tokens_in
from benchmarks.recorded_episodes import recorded_episodes

NO_LEARNING = {"lr": 0.0, "value_lr": 0.0, "q_lr": 0.0}


@torch.no_grad()
def forward(model: ActorCritic, rollout: RolloutBatch, budget: int) -> None:
    """Run the trunk once over the rollout's tokens, in micro-batches of at most `budget` tokens."""
    for rows in micro_batch_rows(rollout, range(len(rollout)), budget):
        model.hidden_states(rollout.micro_batch(rows).tokens, use_cache=False)


def backward(model: ActorCritic, rollout: RolloutBatch, config: UpdateConfig) -> None:
    """Run the trunk forward and backward over the rollout's tokens, in the minibatches and epochs of the update."""

    def run(part: MicroBatch) -> None:
        hidden = model.hidden_states(part.tokens, use_cache=False)
        torch.autograd.backward(hidden, torch.ones_like(hidden))

    in_steps(model, rollout, config, run)


def in_steps(
    model: ActorCritic, rollout: RolloutBatch, config: UpdateConfig, run: Callable[[MicroBatch], None]
) -> None:
    """Call `run` with every micro-batch of the update, and delete the gradients after every minibatch."""
    for _ in range(config.epochs):
        for share in np.array_split(np.arange(len(rollout)), min(config.minibatches, len(rollout))):
            for rows in micro_batch_rows(rollout, share.tolist(), config.micro_batch_tokens):
                run(rollout.micro_batch(rows))
            model.zero_grad(set_to_none=True)


def measure(trunk: str, episodes: int, turns: int, rounds: int) -> dict[str, Any]:
    """Time all four tasks with a trunk."""
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
        "choices": choices_in(rollout),
        "seconds": seconds,
        "rollout": harness.ratios(seconds["rollout"], seconds["forward"]),
        "update": harness.ratios(seconds["update"], seconds["backward"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        trunks=("small,smollm2", "trunks of `train`"),
        episodes=(8, "episodes per rollout, all played in parallel"),
        turns=(10, "turns per episode"),
    )
    print(f"{'':28} {'tokens':>7} {'forward t/s':>12} {'rollout / it':>20} {'fw+bw t/s':>12} {'update / it':>20}")
    rows = []
    for trunk in options.trunks.split(","):
        rows.append(row := measure(trunk, options.episodes, options.turns, options.rounds))
        rates = [row["tokens"] / harness.summary(row["seconds"][name])["median"] for name in ("forward", "backward")]
        kind = f"{trunk} {row['dtype']}" + (f" LoRA {row['lora']}" if row["lora"] else "")
        print(f"{kind:28} {row['tokens']:7} {rates[0]:12.0f} {harness.shown(row['rollout']):>20}"
              f" {rates[1] * row['epochs']:12.0f} {harness.shown(row['update']):>20}", flush=True)  # fmt: skip
    harness.report("bare_trunk", options, arguments, rows=rows)


if __name__ == "__main__":
    main()
