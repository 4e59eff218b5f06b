"""The figures of `exact.py`."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.plot_style import PALETTE, make_figure, plot_runs, save_figure
from experiments.rlhf.exact_contrasts import BASE_METHODS, Runs, log_odds, runs_of_cell
from experiments.rlhf.exact_tasks import TASKS, predicted_policy

STYLES = {
    "ppo": (PALETTE[0], "-"),
    "pg": (PALETTE[0], "--"),
    "ppo-kl": (PALETTE[2], "-"),
    "pg-kl": (PALETTE[2], "--"),
    "actde": (PALETTE[1], "-"),
    "actde-sgd": (PALETTE[1], "--"),
    "corrected-sgd": (PALETTE[3], "--"),
    "centred-steady": (PALETTE[6], ":"),
    "actde-steady": (PALETTE[5], ":"),
    "actde-slow-q": (PALETTE[4], "-"),
    "actde-fast-q": (PALETTE[5], "-"),
    "actde-10x": (PALETTE[3], "-"),
}
POLICY = "exact-policy.svg"
POLICY_CAPTION = (
    "Probability of the arms of interest against rollouts; one thin line per seed, bold mean; the grey line is "
    "pi_0 exp(Q / tau). Solid: AdamW; dashed and dotted: plain gradient steps."
)
DRAWN = "exact-drawn.svg"
DRAWN_CAPTION = (
    "One word paid. Left: mean advantage that the paid word receives per episode. Middle: log odds that it has gained. "
    "Right: its probability under AdamW with other learning rates of v and q."
)
TITLES = {
    "alike": "two answers paid alike: the rare one",
    "weddings": "one word paid",
    "barn": "barn: one word",
    "rare": "rare best arm",
}


def policy_figure(runs: Runs, path: Path) -> None:
    figure, axes = make_figure(2, 2, height=6.5)
    for axis, (name, title) in zip(np.ravel(axes), TITLES.items(), strict=True):
        task = TASKS[name]
        for method in STYLES:
            policies = [curves["policy"] for curves in runs_of_cell(runs, name, method).values()]
            if policies and method in BASE_METHODS:
                _plot(axis, method, [policy[:, task.arm_indices("focus")].sum(1) for policy in policies])
                initial_policy = policies[0][0]
        axis.axhline(predicted_policy(initial_policy, task.means)[task.arm_indices("focus")].sum(), color="0.6", lw=1)
        axis.set(title=title, xlabel="rollouts", ylabel="probability", yscale="log" if name != "weddings" else "linear")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    save_figure(figure, path)


def advantage_figure(runs: Runs, path: Path) -> None:
    figure, (left, middle, right) = make_figure(1, 3, width=13)
    arms = TASKS["weddings"].arm_indices("focus")
    for method in ("ppo", "actde", "pg", "actde-sgd", "corrected-sgd", "pg-kl"):
        cell_runs = runs_of_cell(runs, "weddings", method).values()
        odds = [log_odds(curve["policy"], arms) for curve in cell_runs]
        _plot(left, method, [curve["reinforcement"][:-1, arms].sum(1) for curve in cell_runs])
        _plot(middle, method, [log_odds_of_run - log_odds_of_run[0] for log_odds_of_run in odds])
    for method in ("ppo", "actde-slow-q", "actde", "actde-fast-q", "actde-10x"):
        cell_runs = runs_of_cell(runs, "weddings", method).values()
        _plot(right, method, [curve["policy"][:, arms].sum(1) for curve in cell_runs])
    left.set(xlabel="rollouts", ylabel="advantage per episode")
    middle.set(xlabel="rollouts", ylabel="log odds gained, nats")
    right.set(xlabel="rollouts", ylabel="probability")
    for axis in (middle, right):
        axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _plot(axis: Any, method: str, curves: list[Any]) -> None:
    color, style = STYLES[method]
    if curves:
        plot_runs(axis, [range(len(y)) for y in curves], curves, label=method, color=color, style=style)
