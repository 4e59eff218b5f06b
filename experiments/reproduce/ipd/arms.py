"""The recipes of the prisoner's dilemma's report, how many trials each has, and their curves once they are run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.dilemma import record
from experiments.dilemma.runs import Arm, Job, run
from experiments.dilemma.trial import COLUMNS, EPOCHS, Recipe
from experiments.reproduce import Progress
from games.ipd import PAYOFFS

LONG, MIDDLE, SHORT = 10_000, 4_000, 1_000
"""Gradient steps, the post's "epochs"."""
ACTDE = Arm(name="actde", recipe=Recipe(), trials=10, steps=LONG)
"""The post's ACTDE: ten trials of all its figures."""
SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "whitened": {"whitening": "batch"},
    "detached": {"detach_heads": True},
    "ilql": {"value_loss": "ilql"},
}
"""What the post says ACTDE is sensitive to."""


def _named(prefix: str, words: Sequence[str], steps: int, trials: int = 5, **also: Any) -> Arm:
    settings = dict(also)
    for word in words:
        settings |= SWITCHES[word]
    return Arm(name="-".join([prefix, *words]), recipe=Recipe(**settings), trials=trials, steps=steps)


PPO = _named("ppo", (), LONG, optimizer="ppo")
"""As long as ACTDE, though the post shows less: the control for what weight decay and dropout do by themselves."""
PPO_VARIANTS = [
    _named("ppo", words, SHORT, optimizer="ppo") for words in (("whitened",), ("detached",), ("whitened", "detached"))
]
OTHER_MATRICES = [
    Arm(name=f"actde-{payoff.replace('.', '')}", recipe=Recipe(payoff=payoff), trials=2, steps=LONG)
    for payoff in PAYOFFS
    if payoff != ACTDE.recipe.payoff
]
"""The post shows one trial and does not say on which matrix; these are the others in its public code."""
IPD = [ACTDE, PPO, *PPO_VARIANTS, *OTHER_MATRICES]

GRID = [
    _named("actde", [word for word, on in zip(SWITCHES, (white, detached, ilql), strict=True) if on], MIDDLE)
    for white in (False, True)
    for detached in (False, True)
    for ilql in (False, True)
    if white or detached or ilql
]
"""Whitening x detached heads x value loss; the cell without any of them is `ACTDE`."""
ABLATIONS = [
    Arm(name="actde-no-decay", recipe=Recipe(weight_decay=0), trials=10, steps=LONG),
    Arm(name="actde-no-dropout", recipe=Recipe(dropout=0), trials=10, steps=LONG),
    Arm(name="actde-q-slow", recipe=Recipe(q_lr=1.25e-4), trials=5, steps=LONG),
    Arm(name="actde-q-fast", recipe=Recipe(q_lr=2e-3), trials=5, steps=LONG),
    Arm(name="actde-lambda-0", recipe=Recipe(lam=0), trials=5, steps=LONG),
    Arm(name="actde-no-decay-no-dropout", recipe=Recipe(weight_decay=0, dropout=0), trials=5, steps=LONG),
]


def quickened(arms: Sequence[Arm], steps: int) -> list[Arm]:
    """The same recipes with two trials of so many steps, in folders of their own."""
    return [Arm(name=f"quick-{arm.name}", recipe=arm.recipe, trials=2, steps=steps) for arm in arms]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The trials of an arm that have come to its end."""

    arm: Arm
    rows: NDArray[np.float64]
    """[trials, rollouts, columns]"""
    seconds: float
    """Processor time of all of them."""

    @property
    def trials(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> NDArray[np.int64]:
        """[rollouts] gradient steps taken before each rollout, the x axis of the post's figures."""
        return np.arange(self.rows.shape[1]) * EPOCHS

    @property
    def end(self) -> int:
        """Gradient steps after the last rollout."""
        return int(self.rows.shape[1]) * EPOCHS

    def column(self, name: str) -> NDArray[np.float64]:
        """[trials, rollouts]"""
        return self.rows[:, :, COLUMNS.index(name)]

    def at(self, name: str, step: int, *, over: int = 1) -> NDArray[np.float64]:
        """[trials] the mean over the last `over` rollouts up to this gradient step, or to the end."""
        last = min(step // EPOCHS, self.rows.shape[1] - 1)
        return np.asarray(self.column(name)[:, max(0, last + 1 - over) : last + 1].mean(axis=1))

    def until(self, step: int) -> "Series":
        """The same trials, stopped at this gradient step."""
        return Series(arm=self.arm, rows=self.rows[:, : step // EPOCHS], seconds=self.seconds)


def series(arms: Sequence[Arm], folder: Path, *, seed: int, workers: int, progress: Progress) -> dict[str, Series]:
    """Run what is missing, note it in the folder's record, and read all of it from there.

    Returns:
        Name of the arm, without "quick-" -> its finished trials, which may be none where `workers` is 0.

    Raises:
        AgentError: the folder holds trials of another seed or recipe, or damaged ones.
    """
    runs, path = folder / "runs", folder / record.NAME
    kept = record.read(path, seed=seed)
    if workers:
        jobs = [Job(arm=arm, trial=trial, seed=seed) for arm in arms for trial in range(arm.trials)]
        run([job for job in jobs if not kept.holds(job)], runs, workers=workers, on_progress=progress)
    kept.take(arms, runs)
    kept.write(path)
    found = {}
    for arm in arms:
        rows, seconds = kept.of(arm)
        found[arm.name.removeprefix("quick-")] = Series(arm=arm, rows=rows, seconds=seconds)
    return found
