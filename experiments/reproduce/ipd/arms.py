"""Training settings and curves of the prisoner's dilemma experiments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress, product
from pathlib import Path
from typing import Any

import numpy as np

from agents.protocol import AgentError
from experiments.reproduce import Progress
from experiments.reproduce.ipd_trials import record
from experiments.reproduce.ipd_trials.run_trials import Arm, jobs_of, run
from experiments.reproduce.ipd_trials.trial import COLUMNS, EPOCHS, Recipe
from experiments.reproduce.statistics import Array
from games.ipd import PAYOFFS

LONG, MIDDLE, SHORT = 10_000, 4_000, 1_000  # lengths of trials in gradient steps, which the post calls "epochs"
# A window around the peak of the post's curve, and the length of the window at the end, in gradient steps. The early
# window is fixed, because the maximum of a noisy curve is biased upwards.
EARLY, LAST = (200, 400), 100
# The agent plays against its own previous action, so a game is a pair of consecutive actions. A game is alternating (cd
# or dc), cooperating (cc) or defecting (dd).
UNIFORM = {"alternate": 0.5, "cooperate": 0.25, "defect": 0.25}  # shares of games under the uniform policy
SHARES = tuple(UNIFORM)
COLLAPSED = 0.1  # nats of entropy below which a policy counts as collapsed; 98% and 2% have 0.098 nats
# Changes of the recipe. The post says that ACTDE is sensitive to these variations.
SWITCHES: dict[str, dict[str, Any]] = {
    "whitened": {"whitening": "batch"},
    "detached": {"detach_heads": True},
    "ilql": {"value_loss": "ilql"},
}
# all combinations
CELLS = [tuple(compress(SWITCHES, enabled)) for enabled in product((False, True), repeat=len(SWITCHES))]


def _arm(name: str, *switches: str, trials: int = 5, steps: int = LONG, **recipe: Any) -> Arm:
    for switch in switches:
        recipe |= SWITCHES[switch]
    return Arm(name="-".join([name, *switches]), recipe=Recipe(**recipe), trials=trials, steps=steps)


ACTDE = _arm("actde", trials=10)  # the post's figures show ten trials
PPO = _arm("ppo", optimizer="ppo")  # trained longer than in the post, as a control for weight decay and dropout
PPO_VARIANTS = [
    _arm("ppo", *cell, steps=SHORT, optimizer="ppo")
    for cell in (("whitened",), ("detached",), ("whitened", "detached"))
]
OTHER_MATRICES = [  # in the post's public code; the post shows one of them but does not name it
    _arm(f"actde-{payoff.replace('.', '')}", trials=2, payoff=payoff)
    for payoff in PAYOFFS
    if payoff != ACTDE.recipe.payoff
]
IPD = [ACTDE, PPO, *PPO_VARIANTS, *OTHER_MATRICES]
GRID = [_arm("actde", *cell, steps=MIDDLE) for cell in CELLS if cell]  # `ACTDE` itself is the empty combination
ABLATIONS = [
    _arm("actde-no-decay", trials=10, weight_decay=0),
    _arm("actde-no-dropout", trials=10, dropout=0),
    _arm("actde-q-slow", q_lr=1.25e-4),
    _arm("actde-q-fast", q_lr=2e-3),
    _arm("actde-lambda-0", gae_lambda=0),
    _arm("actde-no-decay-no-dropout", weight_decay=0, dropout=0),
]


@dataclass(frozen=True, slots=True)
class Series:
    """The training curves of finished trials with the same settings."""

    arm: Arm
    rows: Array  # [trials, rollouts, columns]; `COLUMNS` names the columns
    seconds: float  # of processor time, in total

    @property
    def trials(self) -> int:
        return len(self.rows)

    @property
    def payoff(self) -> str:
        return str(self.arm.recipe.payoff)

    @property
    def end(self) -> int:  # in gradient steps
        return int(self.rows.shape[1]) * EPOCHS

    def column(self, name: str) -> Array:
        """Return the curves [trials, rollouts] of one column."""
        return self.rows[:, :, COLUMNS.index(name)]

    def reaches(self, step: int) -> bool:
        """Return whether two or more trials have at least `step` gradient steps."""
        return self.trials >= 2 and self.end >= step

    def mean_between(self, column: str, first: int, last: int) -> Array:
        """Return each trial's mean of `column` from gradient step `first` to `last`."""
        if not 0 <= first < last <= self.end:
            raise ValueError(f"expected steps within 0 to {self.end}, got {first} to {last}")
        return np.asarray(self.column(column)[:, first // EPOCHS : last // EPOCHS].mean(axis=1))

    def mean_before(self, column: str, step: int = LONG) -> Array:
        """Return each trial's mean of `column` in the 100 gradient steps before `step`."""
        return self.mean_between(column, step - LAST, step)

    def early_mean(self, column: str) -> Array:
        """Return each trial's mean of `column` in gradient steps 200 to 400."""
        return self.mean_between(column, *EARLY)

    def shares(self, step: int = LONG) -> Array:
        """Return shares [3, trials] of alternating, cooperating and defecting games in the 100 steps before `step`."""
        return np.array([self.mean_before(name, step) for name in SHARES])

    def trend(self, column: str) -> Array:
        """Fit a line to the second half of each trial's `column`. Return each line's rise."""
        late = self.column(column)[:, self.rows.shape[1] // 2 :]
        return np.asarray(np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0])

    def downsampled(self, points: int) -> tuple[Array, "Series"]:
        """Average about `points` groups of consecutive rollouts. Return (groups' first gradient steps, curves)."""
        length = max(1, self.rows.shape[1] // points)
        count = self.rows.shape[1] // length
        rows = self.rows[:, : count * length].reshape(self.trials, count, length, -1).mean(axis=2)
        return np.arange(count) * length * EPOCHS, replace(self, rows=rows)

    def until(self, step: int) -> "Series":
        return replace(self, rows=self.rows[:, : step // EPOCHS])


def run_arms(
    arms: Sequence[Arm],
    folder: Path,
    *,
    seed: int,
    quick_steps: int | None,  # gradient steps of a quick run, which has two trials per arm
    workers: int | None,
    cluster: str | None = None,
    progress: Progress,
) -> dict[str, Series]:
    """Run the missing trials. Return arm name -> curves. If `workers` is 0, only load stored trials."""
    prefix = ""
    if quick_steps is not None:
        prefix, arms = "quick-", [replace(arm, trials=2, steps=quick_steps) for arm in arms]
    runs, path = folder / f"{prefix}runs", folder / f"{prefix}{record.NAME}"
    stored = record.read(path, seed=seed)
    if workers != 0:
        jobs = [job for arm in arms for job in jobs_of(arm, seed)]
        run(
            [job for job in jobs if not stored.holds(job)], runs, workers=workers, cluster=cluster, on_progress=progress
        )
    stored.add_finished(arms, runs)
    if not stored.rows:
        raise AgentError(f"nothing was run in {folder}: give --workers 1 or more to run it")
    stored.write(path)
    return {arm.name: Series(arm, *stored.curves_of(arm)) for arm in arms}
