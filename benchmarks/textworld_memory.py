"""Measure the resident memory of TextWorld games, and the growth of this memory.

    python -m benchmarks.textworld_memory --out benchmarks/textworld_memory.json

First, one episode of a game is played. Next, 64 environments of this game are open at the same time. Finally, the first
environment makes 10,000 resets and 1,000,000 cached steps.
"""

import gc
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import harness, memory
from games.game_strings import make_textworld
from games.textworld.env import TextWorld

GAME = "textworld:simple?level=1&seed=7"
EPISODES, RESETS, STEPS, FIRST_STEPS = 64, 10_000, 1_000_000, 1_500


def resident() -> float:
    """Return the resident memory of this process in MB."""
    gc.collect()
    return memory.resident() / 1e6


def random_steps(env: TextWorld, rng: np.random.Generator, steps: int) -> None:
    """Play `steps` random admissible commands."""
    _, info = env.reset()
    for _ in range(steps):
        commands = info["admissible_commands"]
        if not commands:
            _, info = env.reset()
            continue
        *_, info = env.step(commands[rng.integers(len(commands))])


def measure(game: str) -> dict[str, Any]:
    """Return the memory after each stage in MB, and the ratios between stages."""
    rng = np.random.default_rng(0)
    before = resident()
    first = make_textworld(game)
    random_steps(first, rng, FIRST_STEPS)
    one = resident()
    live = [first, *(make_textworld(game) for _ in range(EPISODES - 1))]
    for env in live:
        random_steps(env, rng, 60)
    many = resident()
    commands = first._engine.game_info.walkthrough[:-1]
    for seed in range(RESETS):
        first.reset(seed=seed)
    made = 0
    while made < STEPS:
        first.reset()
        for command in commands:
            first.step(command)
        made += len(commands)
    after = resident()
    return {
        "game": game,
        "before_mb": round(before, 1),
        "one_episode_mb": round(one, 1),
        "live_episodes": EPISODES,
        "live_mb": round(many, 1),
        "live_ratio": round(many / one, 3),
        "resets": RESETS,
        "warm_steps": made,
        "after_mb": round(after, 1),
        "growth": round(after / many - 1, 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.parser(__doc__, timed=False).parse_args(arguments)
    result = {"command": "python -m benchmarks.textworld_memory", **measure(GAME)}
    print(json.dumps(result, indent=1))
    harness.write(options.out, result)


if __name__ == "__main__":
    main()
