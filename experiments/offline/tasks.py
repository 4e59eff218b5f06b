"""The training settings of every task and learner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

Settings = Mapping[str, Any]
PRIOR = "pi_0"
"""Most other runs start from this run. The run imitates recorded play, or generates the play if a task has none."""


class Task(NamedTuple):
    """A set of games, and training settings."""

    title: str
    game: str  # of the training
    data: str  # recorded play, as in `train --data`; if empty, the play of the run `PRIOR`
    common: Settings  # of all runs
    prior: Settings  # of the run `PRIOR`
    offline: Settings  # of the learners of recorded play
    own: Settings  # of the learners of their own play
    tests: str = ""  # the games of the evaluation, if different from `game`
    best: float = 1.0  # approximate best discounted return, to which `guide_beta` and `tau` are scaled
    without: tuple[str, ...] = ()  # learners that are left out
    learners: Mapping[str, Settings] = {}  # of single learners


class Learner(NamedTuple):
    """A learning method: an optimizer with settings."""

    optimizer: str
    # "prior" is the run `PRIOR`, "data" learns from recorded play, and "scratch" does so without a start from `PRIOR`
    kind: Literal["prior", "data", "scratch", "own"]
    settings: Settings


HEADS: Settings = {"q_heads": 2, "head_layers": 2}
DETACHED: Settings = {  # v and q do not disturb imitation (`agents.training.presets.IMITATION`)
    "value_lr": 1e-2,
    "q_lr": 1e-2,
    "value_coef": 0.01,
    "q_coef": 0.01,
    "detach_value": True,
    "detach_q": True,
}
ATTACHED: Settings = {  # the trunk learns from the errors of v and q, too
    "value_lr": 1e-3,
    "q_lr": 1e-3,
    "value_coef": 0.5,
    "q_coef": 1.0,
    "detach_value": False,
    "detach_q": False,
}
# The gradient steps are those of imitation, not of the preset for `--init`
AS_IMITATION: Settings = {"top_actions": 16, "critic_warmup": 0, "adam_eps": 1e-8}
# The policy follows q, so q must learn faster than in the preset for `--init`
Q_FIRST: Settings = {"value_lr": 1e-2, "q_lr": 1e-2, "adam_eps": 1e-8, "detach_value": True, "detach_q": True}
# q starts as v, and v, q and the policy are trained from the first rollout on
FROM_V: Settings = {"reset_q": True, "critic_warmup": 0}

LEARNERS: Mapping[str, Learner] = {
    PRIOR: Learner("imitation", "prior", {}),
    "imitation": Learner("imitation", "data", DETACHED),
    "filtered imitation": Learner("rejection", "data", {**DETACHED, "top_fraction": 0.05}),
    "rejection by transition": Learner("rejection-transition", "data", {**DETACHED, **AS_IMITATION}),
    "monte carlo": Learner("imitation", "data", {**ATTACHED, "gae_lambda": 1.0, "guide_beta": 32.0}),
    "ilql": Learner("ilql", "data", {**ATTACHED, "target_q": True, "target_rate": 0.05, "guide_beta": 32.0}),
    "decision": Learner("decision", "scratch", DETACHED),
    "rejection": Learner("rejection", "own", {"top_fraction": 0.05}),
    "guided pi_0": Learner("actde", "own", {"lr": 0.0, **Q_FIRST, "guide_beta": 8.0, "max_grad_norm": 1e6}),
    "mpo": Learner("mpo", "own", {"lr": 3e-4, **Q_FIRST, "tau": 0.125}),
    "actde": Learner("actde", "own", {"lr": 3e-4, **Q_FIRST, "q_lr": 1e-4, **FROM_V}),
    "actde with the q of pi_0": Learner("actde", "own", {"lr": 3e-4, **Q_FIRST}),
    "ppo": Learner("ppo", "own", {}),
    "ppo as actde": Learner("ppo", "own", {"lr": 3e-4, **Q_FIRST, "q_lr": 1e-4, **FROM_V, "train_q": True}),
}

_ROLLOUT: Settings = {"group_size": 1, "tracker": "none"}
_SMALL: Settings = {**_ROLLOUT, "trunk": "small", "parallel": 16}
_PRIOR: Settings = {**HEADS, **DETACHED, "lr": 1e-3, "episodes": 8, "iterations": 75}
_OFFLINE: Settings = {"epochs": 1, "minibatches": 1, "entropy_coef": 0.0, "lr": 1e-3, "episodes": 8, "iterations": 60}
_OWN: Settings = {"episodes": 16, "iterations": 30}
_COIN: Settings = {**_SMALL, "max_turns": 20}
_GAMED: Settings = {**_SMALL, "max_turns": 10, "bonus": 0.2, "bonus_command": "look"}
_COIN_GAMES, _COIN_TESTS = "textworld:coin?level=5&seed=101..228", "textworld:coin?level=5&seed=2000000000..2000000019"
_FREE: Settings = {**_ROLLOUT, "trunk": "smollm2", "dtype": "bfloat16", "parallel": 32, "max_turns": 1}
# As in the cell `actde` of `experiments.rlhf.confirmation`
_FREE_ACTDE: Settings = {"value_lr": 1e-4, "q_lr": 1e-4, "advantage": "return", "credit": "command"}

TASKS: Mapping[str, Task] = {
    "textnav": Task(
        "Text-Nav: the single house, from start rooms that the training lacks",
        "textworld:textnav?level=1&seed=1..10",
        "random:60,expert:40",
        {**_SMALL, "max_turns": 20},
        _PRIOR,
        _OFFLINE,
        _OWN,
        " + ".join(f"textworld:textnav?level=1&seed={seed}" for seed in (11, 15, 20, 21)),
    ),
    "simple": Task(
        "One game of `simple`",
        "textworld:simple?seed=1",
        "random:80,expert:20",
        {**_SMALL, "max_turns": 40},
        _PRIOR,
        _OFFLINE,
        _OWN,
        best=5.0,
    ),
    "coin": Task(
        "Unseen games of `coin`",
        _COIN_GAMES,
        "random:128,expert:64",
        _COIN,
        _PRIOR,
        _OFFLINE,
        _OWN,
        _COIN_TESTS,
    ),
    "quest": Task(
        "Unseen games of `quest`",
        "textworld:quest?level=3&seed=101..164",
        "random:64,expert:64",
        {**_SMALL, "max_turns": 20},
        _PRIOR,
        _OFFLINE,
        _OWN,
        "textworld:quest?level=3&seed=2000000000..2000000019",
    ),
    "gamed": Task(
        "A reward that can be gamed: unseen games of `coin`, and 0.2 for each `look`",
        _COIN_GAMES,
        "random:128,expert:64",
        _GAMED,
        _PRIOR,
        _OFFLINE,
        _OWN,
        _COIN_TESTS,
        best=1.5,
        without=("decision",),  # it refuses reward shaping
    ),
    "completion": Task(
        "Completions of SmolLM2, rewarded for cheerful words",
        "completion",
        "",
        _FREE,
        {"optimizer": "ppo", "train_q": True, **HEADS, "lr": 0.0, "episodes": 64, "iterations": 10},
        {"epochs": 1, "minibatches": 1, "lr": 3e-4, "episodes": 32, "iterations": 30},
        {"episodes": 32, "iterations": 30},
        "completion?prompts=heldout",
        without=("actde with the q of pi_0",),  # it failed on most other tasks, and the runs take hours
        learners={
            "rejection by transition": {"credit": "command"},
            "monte carlo": {"guide_beta": 8.0},
            "ilql": {"guide_beta": 8.0},
            "guided pi_0": {"value_lr": 1e-4, "q_lr": 1e-3},
            "mpo": {"value_lr": 1e-4, "q_lr": 1e-3},
            "actde": _FREE_ACTDE,
            "ppo": {"credit": "command"},
            "ppo as actde": _FREE_ACTDE,
        },
    ),
}


def explicit_settings(task: Task, learner: str, seed: int, prior: Path) -> dict[str, Any]:
    """Return a run's settings, without preset defaults. `prior` is the folder of the run `PRIOR`."""
    optimizer, kind, of_learner = LEARNERS[learner]
    overrides = {**of_learner, **task.learners.get(learner, {})}
    of_kind = {"prior": task.prior, "data": task.offline, "scratch": task.offline, "own": task.own}[kind]
    values = {"optimizer": optimizer, "game": task.game, "seed": seed, **task.common, **of_kind, **overrides}
    for name, factor in (("guide_beta", 1 / task.best), ("tau", task.best)):
        if name in overrides:
            values[name] *= factor
    if task.data and kind != "own":
        values["data"] = task.data
    elif kind in ("data", "scratch"):
        values["data"] = str(prior)
    if kind in ("data", "own"):
        values["init"] = str(prior)
    elif kind == "scratch":
        values["iterations"] += task.prior["iterations"]
    return values
