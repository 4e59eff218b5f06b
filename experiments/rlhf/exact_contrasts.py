"""The measures of the exact experiments, and the contrasts fixed before the first run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.rlhf.contrasts import Array, contrasted, corrected
from experiments.rlhf.exact_tasks import TASKS, Task, predicted

SEEDS = (0, 1, 2, 3, 4)
ROLLOUTS = 50
CLOSE = 0.1  # q counts as predicting an arm if it is within this distance of the arm's mean reward
Curves = Mapping[str, Array]
Runs = Mapping[tuple[str, str, int], Mapping[str, Any]]  # tuple (task, method, seed) -> the curves of this run


class Contrast(NamedTuple):
    """The difference of a measure on a task: the method `first` minus the method `second`."""

    task: str
    measure: str
    first: str
    second: str


class Measure(NamedTuple):
    """A number computed from the curves of one run, with its label in tables."""

    compute: Callable[[Task, Curves], float]
    label: str


def log_odds(policy: Array, index: list[int]) -> Array:
    """Return the log odds [...] that `policy` [..., K] chooses an arm in `index`."""
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


MEASURES = {  # `measured` computes `shift`, because one run is not enough
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
CELLS = [  # all pairs (task, method) that are trained
    *((task, method) for task in TASKS if task not in SHIFTS for method in BASE),
    *((task, method) for task in SHIFTS for method in EVERYWHERE),
    *(("weddings", method) for method in ON_WEDDINGS),
]


def of_cell(runs: Runs, task: str, method: str) -> dict[int, Curves]:
    """Return the finished runs of a task and a method: seed -> curves."""
    return {seed: curves for (*cell, seed), curves in runs.items() if cell == [task, method]}


def measured(runs: Runs, task: str, method: str, measure: str) -> dict[int, float]:
    """Return a measure of the finished runs of a task and a method: seed -> value."""
    cell = of_cell(runs, task, method)
    if measure != "shift":
        return {seed: MEASURES[measure].compute(TASKS[task], curves) for seed, curves in cell.items()}
    shifted = [of_cell(runs, shift, method) for shift in SHIFTS]
    return {
        seed: float(np.mean([total_variation(curves["policy"][-1], other[seed]["policy"][-1]) for other in shifted]))
        for seed, curves in cell.items()
        if all(seed in other for other in shifted)
    }


def contrast_rows(runs: Runs) -> list[dict[str, Any]]:
    """Return a row (see `corrected`) for each contrast with at least two finished seeds."""
    rows = []
    for contrast in CONTRASTS:
        first, second = (measured(runs, contrast.task, method, contrast.measure) for method in contrast[2:])
        seeds = sorted(first.keys() & second.keys())
        if len(seeds) > 1:
            rows.append(contrasted(contrast._asdict(), [(first[seed], second[seed]) for seed in seeds]))
    return corrected(rows)


def predicted_at(task: Task, curves: Curves) -> int | None:
    """Return the first rollout in which q predicts the first arm of `focus`, or None."""
    index = task.index("focus")[0]
    close = np.flatnonzero(np.abs(curves["q"][:, index] - task.means[index]) < CLOSE)
    return int(close[0]) if len(close) else None


def summary(task: Task, curves: Curves) -> dict[str, float]:
    """Return measures of the final policy, and of the training before and after `predicted_at`.

    * `gain`: change of the log odds of the group `focus`, in nats
    * `drawn`: the group's advantages per episode, summed over rollouts
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
        "gain_before": float(odds[split] - odds[0]),
        "gain_after": float(odds[-1] - odds[split]),
        "drawn_before": float(drawn[:split].sum()),
        "drawn_after": float(drawn[split:].sum()),
        "distance": _distance(task, curves),
        "kernel_growth": float(curves["kernels"][1] / curves["kernels"][0]),
    }
