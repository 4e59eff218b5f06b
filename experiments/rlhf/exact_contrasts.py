"""Measures and tested differences of `exact.py`, all fixed before the first run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.rlhf.contrasts import Array, contrast_row, with_holm_p
from experiments.rlhf.exact_tasks import TASKS, Task, predicted_policy

SEEDS = (0, 1, 2, 3, 4)
ROLLOUTS = 50
CLOSE = 0.1  # q counts as predicting an arm if it is within this distance of the arm's mean reward
Curves = Mapping[str, Array]
Runs = Mapping[tuple[str, str, int], Mapping[str, Any]]  # tuple (task, method, seed) -> the curves of this run


class Contrast(NamedTuple):
    """A comparison of `measure` between the methods `first` and `second` on `task`."""

    task: str
    measure: str
    first: str
    second: str


class Measure(NamedTuple):
    """A label for tables, and a function that maps a run's curves to a number."""

    compute: Callable[[Task, Curves], float]
    label: str


def log_odds(policy: Array, arms: list[int]) -> Array:
    """Return log(p / (1 - p)), where p sums `policy` [..., K] over `arms`, a subset of K arms."""
    other_arms = [arm for arm in range(policy.shape[-1]) if arm not in arms]
    return np.asarray(np.log(policy[..., arms].sum(-1) / policy[..., other_arms].sum(-1)))


def _late_gain(task: Task, curves: Curves) -> float:
    odds = log_odds(curves["policy"], task.arm_indices("focus"))
    return float(odds[-1] - odds[len(odds) // 2])


def _gain_over_focus(task: Task, curves: Curves, group: str) -> float:
    log_group, log_focus = (np.log(curves["policy"][:, task.arm_indices(name)].sum(1)) for name in (group, "focus"))
    return float((log_group - log_focus)[-1] - (log_group - log_focus)[0])


def _distance(task: Task, curves: Curves) -> float:
    policy = curves["policy"]
    return total_variation(policy[-1], predicted_policy(policy[0], task.means))


def total_variation(first: Array, second: Array) -> float:
    return float(np.abs(first - second).sum() / 2)


MEASURES = {  # `measured` computes `shift`, because one run is not enough
    "spread": Measure(
        lambda t, c: _gain_over_focus(t, c, "common"), "change of log(common / rare) of two answers paid alike, nats"
    ),
    "late gain": Measure(_late_gain, "log odds that the paid word gains in the second half, nats"),
    "many": Measure(lambda t, c: _gain_over_focus(t, c, "many"), "log gain of six words minus that of one word, nats"),
    "lottery": Measure(
        lambda t, c: _gain_over_focus(t, c, "lottery"), "log gain of the lottery minus that of one word"
    ),
    "rare": Measure(
        lambda t, c: float(log_odds(c["policy"][-1], t.arm_indices("focus"))),
        "final log odds of the rare best arm, nats",
    ),
    "distance": Measure(_distance, "total variation between the final policy and pi_0 exp(Q / tau)"),
    "shift": Measure(lambda t, c: float("nan"), "total variation between the final policies with and without shift"),
}
TASK_MEASURES = (
    ("alike", "spread"),
    ("weddings", "late gain"),
    ("barn", "many"),
    ("barn", "lottery"),
    ("rare", "rare"),
)
PAIRS = (("actde-sgd", "pg"), ("actde", "ppo"))
CONTRASTS = [
    *(Contrast(*compared, *pair) for compared in (*TASK_MEASURES, ("weddings", "shift")) for pair in PAIRS),
    *(Contrast(task, "distance", "centred-steady", "actde-sgd") for task in ("alike", "weddings", "barn", "rare")),
]
SHIFTS = ("weddings-1", "weddings+1")
SHIFT_METHODS = ("pg", "actde-sgd", "centred-steady", "ppo", "actde")
BASE_METHODS = (*SHIFT_METHODS, "ppo-kl", "pg-kl", "corrected-sgd")
WEDDINGS_METHODS = ("actde-steady", "actde-slow-q", "actde-fast-q", "actde-10x")
CELLS = [  # all pairs (task, method) that are trained
    *((task, method) for task in TASKS if task not in SHIFTS for method in BASE_METHODS),
    *((task, method) for task in SHIFTS for method in SHIFT_METHODS),
    *(("weddings", method) for method in WEDDINGS_METHODS),
]


def runs_of_cell(runs: Runs, task: str, method: str) -> dict[int, Curves]:
    """Return a dict: seed -> curves of the run of `task` and `method`."""
    return {seed: curves for (*cell, seed), curves in runs.items() if cell == [task, method]}


def measure_by_seed(runs: Runs, task: str, method: str, measure: str) -> dict[int, float]:
    """Return a dict: seed -> value of `measure`."""
    cell = runs_of_cell(runs, task, method)
    if measure != "shift":
        return {seed: MEASURES[measure].compute(TASKS[task], curves) for seed, curves in cell.items()}
    runs_by_shift = [runs_of_cell(runs, shift, method) for shift in SHIFTS]
    return {
        seed: float(
            np.mean(
                [
                    total_variation(curves["policy"][-1], shifted_runs[seed]["policy"][-1])
                    for shifted_runs in runs_by_shift
                ]
            )
        )
        for seed, curves in cell.items()
        if all(seed in shifted_runs for shifted_runs in runs_by_shift)
    }


def contrast_rows(runs: Runs) -> list[dict[str, Any]]:
    """Return a row for each contrast that has results from at least two seeds."""
    rows = []
    for contrast in CONTRASTS:
        first, second = (measure_by_seed(runs, contrast.task, method, contrast.measure) for method in contrast[2:])
        seeds = sorted(first.keys() & second.keys())
        if len(seeds) > 1:
            rows.append(contrast_row(contrast._asdict(), [(first[seed], second[seed]) for seed in seeds]))
    return with_holm_p(rows)


def first_predicted_rollout(task: Task, curves: Curves) -> int | None:
    """Return the first rollout in which the focus arm has |q - mean reward| < `CLOSE`, else None."""
    arm = task.arm_indices("focus")[0]
    close_rollouts = np.flatnonzero(np.abs(curves["q"][:, arm] - task.means[arm]) < CLOSE)
    return int(close_rollouts[0]) if len(close_rollouts) else None


def summary(task: Task, curves: Curves) -> dict[str, float]:
    """Return a run's measures. Gains and advantages are split at the `first_predicted_rollout`."""
    initial, final = curves["policy"][0], curves["policy"][-1]
    focus, predicted_rollout = task.arm_indices("focus"), first_predicted_rollout(task, curves)
    odds, advantages = log_odds(curves["policy"], focus), curves["reinforcement"][:, focus].sum(1)
    split = len(odds) - 1 if predicted_rollout is None else predicted_rollout
    return {
        "reward": float(final @ task.means),
        "entropy": float(-(final * np.log(final)).sum()),
        "kl": float((final * np.log(final / initial)).sum()),
        "focus": float(final[focus].sum()),
        "gain_before": float(odds[split] - odds[0]),
        "gain_after": float(odds[-1] - odds[split]),
        "drawn_before": float(advantages[:split].sum()),
        "drawn_after": float(advantages[split:].sum()),
        "distance": _distance(task, curves),
        "kernel_growth": float(curves["kernels"][1] / curves["kernels"][0]),
    }
