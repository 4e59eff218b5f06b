"""The measures of the exact experiments, and the contrasts that were fixed before the first run.

A contrast is the difference of a measure between two methods, on the same task and seeds. The test is a two-sided
paired t-test over seeds, and Holm's procedure corrects the p-values for the number of contrasts. For example, `spread`
measures how far the probabilities of two equally paid answers move apart. If its contrast is negative, they move apart
less with the first method than with the second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from experiments.rlhf.exact_tasks import TASKS, Array, Task, predicted

SEEDS = (0, 1, 2, 3, 4)
ROLLOUTS = 50
CLOSE = 0.1
"""q counts as predicting an arm if it is within this distance of the arm's mean reward."""
Curves = Mapping[str, Array]


class Contrast(NamedTuple):
    """The difference of a measure on a task: the method `first` minus the method `second`."""

    task: str
    measure: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A number computed from the curves of one run, and its description in tables."""

    compute: Callable[[Task, Curves], float]
    label: str


def log_odds(policy: Array, index: list[int]) -> Array:
    """Return the log odds, in nats, of choosing one of the arms with the indices `index`.

    The shape is that of `policy` [..., K] without its last axis.
    """
    others = [arm for arm in range(policy.shape[-1]) if arm not in index]
    return np.asarray(np.log(policy[..., index].sum(-1) / policy[..., others].sum(-1)))


def _late_gain(task: Task, curves: Curves) -> float:
    odds = log_odds(curves["policy"], task.index("focus"))
    return float(odds[-1] - odds[len(odds) // 2])


def _against_focus(task: Task, curves: Curves, group: str) -> float:
    first, focus = (np.log(curves["policy"][:, task.index(name)].sum(1)) for name in (group, "focus"))
    return float((first - focus)[-1] - (first - focus)[0])


def _distance(task: Task, curves: Curves) -> float:
    policy = curves["policy"]
    return total_variation(policy[-1], predicted(policy[0], task.means))


def total_variation(one: Array, other: Array) -> float:
    return float(np.abs(one - other).sum() / 2)


MEASURES = {
    "spread": Measure(
        lambda t, c: _against_focus(t, c, "common"), "change of log(common / rare) of two answers paid alike, nats"
    ),
    "late gain": Measure(_late_gain, "log odds that the paid word gains in the second half, nats"),
    "many": Measure(lambda t, c: _against_focus(t, c, "many"), "log gain of six words minus that of one word, nats"),
    "lottery": Measure(lambda t, c: _against_focus(t, c, "lottery"), "log gain of the lottery minus that of one word"),
    "rare": Measure(
        lambda t, c: float(log_odds(c["policy"][-1], t.index("focus"))), "final log odds of the rare best arm, nats"
    ),
    "distance": Measure(_distance, "total variation between the final policy and pi_0 exp(Q / tau)"),
    "shift": Measure(lambda t, c: float("nan"), "total variation between the final policies with and without shift"),
}
"""Name -> measure. `shift` is NaN here, because one run is not enough to compute it.

`shift` compares a run with two other runs, whose rewards are shifted by -1 and by +1 (see `shift_distance`).
"""
COMPARED = (("alike", "spread"), ("weddings", "late gain"), ("barn", "many"), ("barn", "lottery"), ("rare", "rare"))
PAIRS = (("actde-sgd", "pg"), ("actde", "ppo"))
CONTRASTS = [
    *(Contrast(*compared, *pair) for compared in (*COMPARED, ("weddings", "shift")) for pair in PAIRS),
    *(Contrast(task, "distance", "centred-steady", "actde-sgd") for task in ("alike", "weddings", "barn", "rare")),
]
SHIFTS = ("weddings-1", "weddings+1")
EVERYWHERE = ("pg", "actde-sgd", "centred-steady", "ppo", "actde")
BASE = (*EVERYWHERE, "ppo-kl", "pg-kl", "corrected-sgd")
ON_WEDDINGS = ("actde-steady", "actde-slow-q", "actde-fast-q", "actde-10x")
CELLS = [
    *((task, method) for task in TASKS if task not in SHIFTS for method in BASE),
    *((task, method) for task in SHIFTS for method in EVERYWHERE),
    *(("weddings", method) for method in ON_WEDDINGS),
]
"""All pairs (task, method) that are trained. The methods in `ON_WEDDINGS` are trained on one task only."""


def shift_distance(plain: Curves, shifted: list[Curves]) -> float:
    """Return the mean total variation distance between the final policy of `plain` and those of the runs `shifted`.

    The rewards of each run in `shifted` are those of `plain` plus a constant.
    """
    return float(np.mean([total_variation(plain["policy"][-1], one["policy"][-1]) for one in shifted]))


def predicted_at(task: Task, curves: Curves) -> int | None:
    """Return the first rollout in which q predicts the first arm of the group `focus` (see `CLOSE`), or None."""
    index = task.index("focus")[0]
    close = np.flatnonzero(np.abs(curves["q"][:, index] - task.means[index]) < CLOSE)
    return int(close[0]) if len(close) else None


def summary(task: Task, curves: Curves) -> dict[str, Any]:
    """Return measures of the final policy, and of the training before and after q predicts the paid word.

    The paid word is the first arm of the group `focus`. If q never predicts it, all rollouts belong to the first of
    these two parts. `gain_before` and `gain_after` are changes of the group's log odds, in nats. `drawn_before` and
    `drawn_after` are the group's advantages per episode, summed over rollouts.
    """
    first, last = curves["policy"][0], curves["policy"][-1]
    focus, at = task.index("focus"), predicted_at(task, curves)
    odds, drawn = log_odds(curves["policy"], focus), curves["reinforcement"][:, focus].sum(1)
    split = len(odds) - 1 if at is None else at
    return {
        "reward": float(last @ task.means),
        "entropy": float(-(last * np.log(last)).sum()),
        "kl": float((last * np.log(last / first)).sum()),
        "focus": float(last[focus].sum()),
        "predicted_at": at,
        "gain_before": float(odds[split] - odds[0]),
        "gain_after": float(odds[-1] - odds[split]),
        "drawn_before": float(drawn[:split].sum()),
        "drawn_after": float(drawn[split:].sum()),
        "distance": _distance(task, curves),
        "kernel_growth": float(curves["kernels"][1] / curves["kernels"][0]),
    }
