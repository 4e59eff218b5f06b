"""Define the arms of the prisoner's dilemma experiments, and load the training curves of their finished trials.

A trial is one model that plays and learns with its own seed. An arm is a set of trials with the same recipe: optimizer,
payoff matrix and training settings.

The agent plays against its own previous action, so a game is a pair of consecutive actions. A game is alternating if
the two actions differ (cd or dc), cooperating if both cooperate (cc), and defecting if both defect (dd).
"""

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
UNIFORM = {"alternate": 0.5, "cooperate": 0.25, "defect": 0.25}  # shares of games under the uniform policy
SHARES = tuple(UNIFORM)
COLLAPSED = 0.1  # nats of entropy below which a policy counts as collapsed; 98% and 2% have 0.098 nats
# Changes of the recipe. The post says that ACTDE is sensitive to these variations.
SWITCHES: dict[str, dict[str, Any]] = {
    "whitened": {"whitening": "batch"},
    "detached": {"detach_heads": True},
    "ilql": {"value_loss": "ilql"},
}
CELLS = [tuple(compress(SWITCHES, on)) for on in product((False, True), repeat=len(SWITCHES))]  # all combinations


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
    """The training curves [trials, rollouts, columns] of an arm's finished trials, and their total processor time.

    `ipd_trials.trial.COLUMNS` names the columns.
    """

    arm: Arm
    rows: Array
    seconds: float

    @property
    def trials(self) -> int:
        return len(self.rows)

    @property
    def payoff(self) -> str:
        return str(self.arm.recipe.payoff)

    @property
    def end(self) -> int:
        """The number of gradient steps per trial."""
        return int(self.rows.shape[1]) * EPOCHS

    def column(self, name: str) -> Array:
        """Return the curves of one column [trials, rollouts]."""
        return self.rows[:, :, COLUMNS.index(name)]

    def reaches(self, step: int) -> bool:
        """Return whether there are at least two trials and they have at least `step` gradient steps."""
        return self.trials >= 2 and self.end >= step

    def between(self, name: str, first: int, last: int) -> Array:
        """Return the mean of a column over the gradient steps first <= step < last, for each trial."""
        if not 0 <= first < last <= self.end:
            raise ValueError(f"expected steps within 0 to {self.end}, got {first} to {last}")
        return np.asarray(self.column(name)[:, first // EPOCHS : last // EPOCHS].mean(axis=1))

    def last(self, name: str, step: int = LONG) -> Array:
        """Return the mean of a column over the 100 gradient steps before `step`, for each trial."""
        return self.between(name, step - LAST, step)

    def early(self, name: str) -> Array:
        """Return the mean of a column for each trial over steps 200 to 400, where the post's curve peaks."""
        return self.between(name, *EARLY)

    def shares(self, step: int = LONG) -> Array:
        """Return the shares of alternating, cooperating and defecting games before `step` [3, trials] (see `last`)."""
        return np.array([self.last(name, step) for name in SHARES])

    def trend(self, name: str) -> Array:
        """Return how much a column rises over the second half of each trial, according to a least-squares line."""
        late = self.column(name)[:, self.rows.shape[1] // 2 :]
        return np.asarray(np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0])

    def thinned(self, points: int) -> tuple[Array, "Series"]:
        """Reduce the curves to about `points` points, which are means over consecutive rollouts.

        Return the gradient step at which each point begins, and the reduced series.
        """
        length = max(1, self.rows.shape[1] // points)
        kept = self.rows.shape[1] // length
        rows = self.rows[:, : kept * length].reshape(self.trials, kept, length, -1).mean(axis=2)
        return np.arange(kept) * length * EPOCHS, replace(self, rows=rows)

    def until(self, step: int) -> "Series":
        """Return the same trials, cut off at a gradient step."""
        return replace(self, rows=self.rows[:, : step // EPOCHS])


def run_arms(
    arms: Sequence[Arm],
    folder: Path,
    *,
    seed: int,
    quick_steps: int | None,
    workers: int | None,
    cluster: str | None = None,
    progress: Progress,
) -> dict[str, Series]:
    """Run the missing trials, and store them in the record of `folder`. Return all finished trials by the arm's name.

    `quick_steps` selects a quick run: each arm then has two trials with this number of gradient steps. Quick runs have
    their own record and their own folder of runs. If `workers` is 0, no trial is run, so an arm may have no trials.
    `cluster`: see `run_trials.run`.

    Raises:
        AgentError: The stored trials are damaged or have another seed or recipe, or there are no finished trials.
    """
    prefix = ""
    if quick_steps is not None:
        prefix, arms = "quick-", [replace(arm, trials=2, steps=quick_steps) for arm in arms]
    runs, path = folder / f"{prefix}runs", folder / f"{prefix}{record.NAME}"
    kept = record.read(path, seed=seed)
    if workers != 0:
        jobs = [job for arm in arms for job in jobs_of(arm, seed)]
        run([job for job in jobs if not kept.holds(job)], runs, workers=workers, cluster=cluster, on_progress=progress)
    kept.take(arms, runs)
    if not kept.rows:
        raise AgentError(f"nothing was run in {folder}: give --workers 1 or more to run it")
    kept.write(path)
    return {arm.name: Series(arm, *kept.of(arm)) for arm in arms}
