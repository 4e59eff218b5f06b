"""The recipes of the prisoner's dilemma's report, how many trials each has, and their curves once they are run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.protocol import AgentError
from experiments.reproduce import Progress
from experiments.reproduce.ipd_trials import record
from experiments.reproduce.ipd_trials.runs import Arm, jobs_of, run
from experiments.reproduce.ipd_trials.trial import COLUMNS, EPOCHS, Recipe
from games.ipd import PAYOFFS

LONG, MIDDLE, SHORT = 10_000, 4_000, 1_000
"""Gradient steps, the post's "epochs"."""
EARLY, LAST = (200, 400), 100
"""Gradient steps: a window of its own for "at first", so that no maximum of a noisy curve is compared with its end."""
SHARES = ("alternate", "cooperate", "defect")
UNIFORM = {"alternate": 0.5, "cooperate": 0.25, "defect": 0.25}
"""Shares of games under a fair coin."""
COLLAPSED = 0.1
"""Nats per action, below which a policy of two actions is as good as pure: 98 to 2."""
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
    Arm(name="actde-lambda-0", recipe=Recipe(gae_lambda=0), trials=5, steps=LONG),
    Arm(name="actde-no-decay-no-dropout", recipe=Recipe(weight_decay=0, dropout=0), trials=5, steps=LONG),
]


def quickened(arms: Sequence[Arm], steps: int) -> list[Arm]:
    """The same recipes with two trials of so many steps."""
    return [Arm(name=arm.name, recipe=arm.recipe, trials=2, steps=steps) for arm in arms]


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
    def end(self) -> int:
        """Gradient steps after the last rollout."""
        return int(self.rows.shape[1]) * EPOCHS

    def column(self, name: str) -> NDArray[np.float64]:
        """[trials, rollouts]"""
        return self.rows[:, :, COLUMNS.index(name)]

    def reaches(self, step: int) -> bool:
        """Whether there are two trials or more, and they go on to this gradient step."""
        return self.trials >= 2 and self.end >= step

    def between(self, name: str, first: int, last: int) -> NDArray[np.float64]:
        """[trials] the mean over the rollouts from gradient step `first` up to, and without, `last`.

        Raises:
            ValueError: the trials do not go on so long.
        """
        if not 0 <= first < last <= self.end:
            raise ValueError(f"expected steps within 0 to {self.end}, got {first} to {last}")
        return np.asarray(self.column(name)[:, first // EPOCHS : last // EPOCHS].mean(axis=1))

    def last(self, name: str, step: int = LONG) -> NDArray[np.float64]:
        """[trials] the mean over the last 100 gradient steps before `step`."""
        return self.between(name, step - LAST, step)

    def early(self, name: str) -> NDArray[np.float64]:
        """[trials] the mean over steps 200 to 400, in which the post's curve is at its peak."""
        return self.between(name, *EARLY)

    def trend(self, name: str) -> NDArray[np.float64]:
        """[trials] change over the second half, by least squares."""
        late = self.column(name)[:, self.rows.shape[1] // 2 :]
        return np.asarray(np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0])

    def thinned(self, points: int) -> tuple[NDArray[np.float64], "Series"]:
        """At most about so many points for a figure, means over equal runs of rollouts: their steps, and the rows."""
        length = max(1, self.rows.shape[1] // points)
        kept = self.rows.shape[1] // length
        rows = self.rows[:, : kept * length].reshape(self.trials, kept, length, -1).mean(axis=2)
        return np.arange(kept) * length * EPOCHS, Series(arm=self.arm, rows=rows, seconds=self.seconds)

    def until(self, step: int) -> "Series":
        """The same trials, stopped at this gradient step."""
        return Series(arm=self.arm, rows=self.rows[:, : step // EPOCHS], seconds=self.seconds)


def series(
    arms: Sequence[Arm], folder: Path, *, seed: int, quick: bool, workers: int, progress: Progress
) -> dict[str, Series]:
    """Run what is missing, note it in the folder's record, and read all of it from there.

    Quick trials have a record and a folder of runs of their own.

    Returns:
        Name of the arm -> its finished trials, which may be none where `workers` is 0.

    Raises:
        AgentError: the folder holds trials of another seed or recipe, damaged ones, or none although none may be run.
    """
    prefix = "quick-" if quick else ""
    runs, path = folder / f"{prefix}runs", folder / f"{prefix}{record.NAME}"
    kept = record.read(path, seed=seed)
    missing = [job for arm in arms for job in jobs_of(arm, seed) if not kept.holds(job)]
    if workers:
        run(missing, runs, workers=workers, on_progress=progress)
        kept = record.read(path, seed=seed)  # another part may have written it in the meantime
    kept.take(arms, runs)
    if not kept.rows:
        raise AgentError(f"nothing was run in {folder}: give --workers 1 or more to run it")
    kept.write(path)
    found = {}
    for arm in arms:
        rows, seconds = kept.of(arm)
        found[arm.name] = Series(arm=arm, rows=rows, seconds=seconds)
    return found
