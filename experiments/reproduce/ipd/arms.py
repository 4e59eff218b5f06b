"""The recipes of the dilemma's report, their numbers of trials, and the training curves of finished trials."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress, product
from pathlib import Path
from typing import Any

import numpy as np

from agents.protocol import AgentError
from experiments.reproduce import Progress
from experiments.reproduce.ipd_trials import record
from experiments.reproduce.ipd_trials.runs import Arm, jobs_of, run
from experiments.reproduce.ipd_trials.trial import COLUMNS, EPOCHS, Recipe
from experiments.reproduce.statistics import Array
from games.ipd import PAYOFFS

LONG, MIDDLE, SHORT = 10_000, 4_000, 1_000
"""Gradient steps, the post's "epochs"."""
EARLY, LAST = (200, 400), 100
"""Gradient steps. EARLY is a fixed window, since the maximum of a noisy curve would be biased upwards."""
SHARES = ("alternate", "cooperate", "defect")
UNIFORM = {"alternate": 0.5, "cooperate": 0.25, "defect": 0.25}
"""Shares of games under a fair coin."""
COLLAPSED = 0.1
"""Nats per action; a policy of two actions with less entropy, such as 98% to 2%, counts as pure."""
SWITCHES: dict[str, dict[str, Any]] = {
    "whitened": {"whitening": "batch"},
    "detached": {"detach_heads": True},
    "ilql": {"value_loss": "ilql"},
}
"""The variations that ACTDE is sensitive to, as the post says."""
CELLS = [tuple(compress(SWITCHES, on)) for on in product((False, True), repeat=len(SWITCHES))]
"""All eight combinations of the switches; the first has none."""


def _arm(name: str, *switches: str, trials: int = 5, steps: int = LONG, **recipe: Any) -> Arm:
    for switch in switches:
        recipe |= SWITCHES[switch]
    return Arm(name="-".join([name, *switches]), recipe=Recipe(**recipe), trials=trials, steps=steps)


ACTDE = _arm("actde", trials=10)
"""The post's ACTDE: ten trials of all its figures."""
PPO = _arm("ppo", optimizer="ppo")
"""As long as ACTDE (the post shows less), as a control for the effects of weight decay and dropout."""
PPO_VARIANTS = [
    _arm("ppo", *cell, steps=SHORT, optimizer="ppo")
    for cell in (("whitened",), ("detached",), ("whitened", "detached"))
]
OTHER_MATRICES = [
    _arm(f"actde-{payoff.replace('.', '')}", trials=2, payoff=payoff)
    for payoff in PAYOFFS
    if payoff != ACTDE.recipe.payoff
]
"""The post shows one trial on a matrix that it does not name; these are the others in its public code."""
IPD = [ACTDE, PPO, *PPO_VARIANTS, *OTHER_MATRICES]

GRID = [_arm("actde", *cell, steps=MIDDLE) for cell in CELLS if cell]
"""Whitening x detached heads x value loss; `ACTDE` is the cell without any."""
ABLATIONS = [
    _arm("actde-no-decay", trials=10, weight_decay=0),
    _arm("actde-no-dropout", trials=10, dropout=0),
    _arm("actde-q-slow", q_lr=1.25e-4),
    _arm("actde-q-fast", q_lr=2e-3),
    _arm("actde-lambda-0", gae_lambda=0),
    _arm("actde-no-decay-no-dropout", weight_decay=0, dropout=0),
]


def shortened(arms: Sequence[Arm], steps: int) -> list[Arm]:
    """The same recipes with two trials of so many steps, for a quick run."""
    return [replace(arm, trials=2, steps=steps) for arm in arms]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The training curves of an arm's finished trials."""

    arm: Arm
    rows: Array
    """[trials, rollouts, columns]"""
    seconds: float
    """Processor time of all of them."""

    @property
    def trials(self) -> int:
        return len(self.rows)

    @property
    def end(self) -> int:
        """Gradient steps after the last rollout."""
        return int(self.rows.shape[1]) * EPOCHS

    def column(self, name: str) -> Array:
        """[trials, rollouts]"""
        return self.rows[:, :, COLUMNS.index(name)]

    def reaches(self, step: int) -> bool:
        """Whether there are two or more trials with at least so many gradient steps."""
        return self.trials >= 2 and self.end >= step

    def between(self, name: str, first: int, last: int) -> Array:
        """[trials], the mean over the rollouts from gradient step `first` up to, but not including, `last`.

        Raises:
            ValueError: the trials are shorter.
        """
        if not 0 <= first < last <= self.end:
            raise ValueError(f"expected steps within 0 to {self.end}, got {first} to {last}")
        return np.asarray(self.column(name)[:, first // EPOCHS : last // EPOCHS].mean(axis=1))

    def last(self, name: str, step: int = LONG) -> Array:
        """[trials], the mean over the last 100 gradient steps before `step`."""
        return self.between(name, step - LAST, step)

    def early(self, name: str) -> Array:
        """[trials], the mean over steps 200 to 400, where the post's curve peaks."""
        return self.between(name, *EARLY)

    def shares(self, step: int = LONG) -> Array:
        """[3, trials], `last` of the shares of games that alternate, cooperate and defect."""
        return np.array([self.last(name, step) for name in SHARES])

    def trend(self, name: str) -> Array:
        """[trials], the change over the second half, by least squares."""
        late = self.column(name)[:, self.rows.shape[1] // 2 :]
        return np.asarray(np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0])

    def thinned(self, points: int) -> tuple[Array, "Series"]:
        """About `points` points for a figure, each a mean of equally many rollouts: their gradient steps and curves."""
        length = max(1, self.rows.shape[1] // points)
        kept = self.rows.shape[1] // length
        rows = self.rows[:, : kept * length].reshape(self.trials, kept, length, -1).mean(axis=2)
        return np.arange(kept) * length * EPOCHS, replace(self, rows=rows)

    def until(self, step: int) -> "Series":
        """The same trials up to this gradient step."""
        return replace(self, rows=self.rows[:, : step // EPOCHS])


def run_arms(
    arms: Sequence[Arm], folder: Path, *, seed: int, quick: bool, workers: int, progress: Progress
) -> dict[str, Series]:
    """Run the missing trials, add them to the folder's record, and read all trials from the record.

    Quick trials have a record and a folder of runs of their own.

    Returns:
        Name of the arm -> its finished trials, which may be none if `workers` is 0.

    Raises:
        AgentError: the folder holds trials of another seed or recipe, damaged ones, or none while `workers` is 0.
    """
    prefix = "quick-" if quick else ""
    runs, path = folder / f"{prefix}runs", folder / f"{prefix}{record.NAME}"
    kept = record.read(path, seed=seed)
    if workers:
        jobs = [job for arm in arms for job in jobs_of(arm, seed)]
        run([job for job in jobs if not kept.holds(job)], runs, workers=workers, on_progress=progress)
        kept = record.read(path, seed=seed)  # another part may have written it in the meantime
    kept.take(arms, runs)
    if not kept.rows:
        raise AgentError(f"nothing was run in {folder}: give --workers 1 or more to run it")
    kept.write(path)
    curves = {}
    for arm in arms:
        rows, seconds = kept.of(arm)
        curves[arm.name] = Series(arm=arm, rows=rows, seconds=seconds)
    return curves
