"""Settings that suit a game or a trunk: what a run uses where nothing else was asked for.

An explicit setting always wins over the optimizer's preset, that over the trunk's, that over the game's, and that
over the defaults of the records. A run that begins with a prior has the prior's trunk, unless one is named. What a run
finally used stands in its `settings.json`.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import games
from actde import OptimizerConfig, optimizer_class
from agents.config import TrainConfig

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

OPTIMIZERS: dict[str, dict[str, Any]] = {
    # one pass over what the teacher played: small steps often, and walkthroughs of any length
    "imitation": {
        "episodes": 4,
        "parallel": 4,
        "max_turns": None,
        "epochs": 1,
        "minibatches": 1,
        "entropy_coef": 0.0,
    },
    "rejection": {"group_size": 8, "entropy_coef": 0.0},
}
"""By optimizer, for text adventures."""

# What the heads learn is not to disturb what is imitated (NOTES.md): they are detached, and AdamW's steps do not depend
# on the weights of their losses, but the norm at which gradients are clipped does.
_APART = {"detach_value": True, "detach_q": True, "value_coef": 0.01, "q_coef": 0.01}
IMITATION: dict[str, dict[str, Any]] = {
    "small": {"lr": 1e-3, "value_lr": 1e-2, "q_lr": 1e-2, **_APART},
    "smollm2": {"lr": 3e-4, **_APART},
}
"""By trunk, what imitation of text adventures wants besides."""

CONTINUED: dict[str, dict[str, Any]] = {
    # v of the prior is that of the teacher's play, and would push down whatever is chosen: the heads warm up first;
    # with one epoch and a large epsilon steps shrink with the errors, and ACTDE counts only its own (NOTES.md)
    "small": {
        "lr": 1e-3,
        "adam_eps": 1e-3,
        "value_lr": 1e-3,
        "q_lr": 1e-4,
        "value_coef": 0.1,
        "detach_q": True,
        "entropy_coef": 0.0,
        "epochs": 1,
        "warmup": 4,
        "advantage": "return",
    },
    "smollm2": {
        "lr": 2e-3,  # epsilon is above the adapter's gradients, so steps are small all the same
        "adam_eps": 1e-3,
        "value_lr": 3e-4,
        "q_lr": 3e-4,
        **_APART,
        "entropy_coef": 0.0,
        "epochs": 1,
        "minibatches": 1,
        "warmup": 8,
        "advantage": "return",
    },
}
"""By trunk, for reinforcement that begins with a prior, in text adventures."""

CONTINUED_IMITATION: dict[str, Any] = {"lr": 1e-4}
"""The same for imitation that begins with one: with the steps of a run from nothing it is lost."""


def resolve(explicit: Mapping[str, Any]) -> tuple[TrainConfig, OptimizerConfig]:
    """The settings of a run from the few that were asked for.

    Raises:
        OptimizerError: an unknown name or a bad value.
        GameError: an unknown game.
        AgentError: the prior to begin with is missing or damaged.
    """
    kind = games.resolve(explicit.get("game", TrainConfig().game))[0].kind
    kind = "textworld" if kind == "file" else kind
    prior = _of_prior(explicit)
    values = GAMES[kind] | prior
    values |= TRUNKS.get(explicit.get("trunk", values["trunk"]), {})
    optimizer, trunk = explicit.get("optimizer", TrainConfig().optimizer), explicit.get("trunk", values["trunk"])
    if kind == "textworld":
        values |= OPTIMIZERS.get(optimizer, {})
        values |= IMITATION.get(trunk, {}) if optimizer == "imitation" else {}
        if explicit.get("init"):
            imitates = optimizer_class(optimizer).labels != "none"
            values |= CONTINUED_IMITATION if imitates else CONTINUED.get(trunk, {})
    values |= prior | dict(explicit)  # no preset changes what the prior is
    learning = {spec.name for spec in fields(OptimizerConfig)}
    return (
        TrainConfig.from_dict({name: value for name, value in values.items() if name not in learning}),
        OptimizerConfig.from_dict({name: value for name, value in values.items() if name in learning}),
    )


def _of_prior(explicit: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk of the prior and what belongs to it, where the run begins with one and no trunk is named."""
    if not explicit.get("init") or "trunk" in explicit:
        return {}
    from agents.training.warm_start import assembly_of

    return assembly_of(Path(explicit["init"]))
