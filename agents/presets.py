"""Settings that suit a game or a trunk: what a run uses where nothing else was asked for.

An explicit setting always wins over the trunk's preset, that over the game's, and that over the defaults of
the records. What a run finally used stands in its `settings.json`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import games
from actde import Settings
from agents.settings import TrainSettings

GAMES: dict[str, dict[str, Any]] = {
    # one state, one choice: nothing to discount, and enough samples that a step sees every arm
    "bandit": {"trunk": "pico", "gamma": 1.0, "episodes": 64, "parallel": 64, "lr": 1e-3, "iterations": 300},
    # the settings of the public code behind the post's figures; 2,500 rollouts are its 10,000 steps
    "ipd": {
        "trunk": "pico",
        "dropout": 0.1,
        "rollout_dropout": True,
        "gamma": 0.5,
        "lam": 0.95,
        "episodes": 64,
        "parallel": 64,
        "lr": 5e-4,
        "weight_decay": 0.1,
        "iterations": 2500,
        "save_every": 100,
    },
    # tuned for PPO and the small trunk on one `simple` game (NOTES.md)
    "textworld": {
        "trunk": "small",
        "gamma": 0.9,
        "context": 1024,
        "max_turns": 40,
        "episodes": 16,
        "parallel": 16,
        "lr": 7e-4,
        "epochs": 2,
        "minibatches": 4,
        "value_coef": 0.5,
        "value_clip_range": None,  # returns are many points, and 0.2 a rollout would take v for ever
        "entropy_coef": 0.02,
        "iterations": 100,
    },
}
"""By kind of game."""

TRUNKS: dict[str, dict[str, Any]] = {
    "smollm2": {
        "lora": 16,
        "dtype": "bfloat16",
        "context": 2048,
        "lr": 1e-4,
        "value_lr": 1e-3,
        "q_lr": 1e-3,
        "micro_batch_tokens": 2048,
        "episodes": 8,
        "parallel": 8,
    },
}
"""By trunk."""


def resolve(explicit: Mapping[str, Any]) -> tuple[TrainSettings, Settings]:
    """The settings of a run from the few that were asked for.

    Raises:
        OptimizerError: an unknown name or a bad value.
        GameError: an unknown game.
    """
    kind = games.resolve(explicit.get("game", TrainSettings().game))[0].kind
    values = dict(GAMES["textworld" if kind == "file" else kind])
    values |= TRUNKS.get(explicit.get("trunk", values["trunk"]), {})
    values |= explicit
    learning = {spec.name for spec in fields(Settings)}
    return (
        TrainSettings.from_dict({name: value for name, value in values.items() if name not in learning}),
        Settings.from_dict({name: value for name, value in values.items() if name in learning}),
    )
