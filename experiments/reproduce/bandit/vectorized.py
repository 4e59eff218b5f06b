"""Tabular learners of a two-armed bandit, on policy: many configurations and seeds at once.

The update rules are those of `actde.tabular` (a test compares the two) for arrays [L, S] of L learners and S seeds.
Only the difference of the two logits is stored, since the policy depends on nothing else. All learners of a seed draw
their actions with the same random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce import Progress
from experiments.reproduce.statistics import Array

BLOCK = 1000
"""Steps for which random numbers are drawn at once."""
TINY = 1e-12
"""Errors below this are rounding errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """One learner on one bandit. Its step sizes at step n, from 1, are alpha / n^alpha_power and b / n^b_power."""

    name: str
    rule: Literal["ppo", "actde", "none"]
    """The baseline: v, q of the action, or nothing (vanilla policy gradient)."""
    rewards: tuple[float, float] = (1.0, 0.5)
    gap: float = 0.0
    """Initial logit of the first arm minus that of the second, nats."""
    alpha: float = 1.0
    """Step size of v and q."""
    alpha_power: float = 0.0
    b: float = 1.0
    """Step size of the logits."""
    b_power: float = 0.0
    gradient: bool = False
    """True: the error moves the logits along the gradient of log pi(a). False: it moves the logit of a only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What one learner does: T recorded steps, S seeds."""

    steps: NDArray[np.int64]
    """[T], steps done."""
    gap: Array
    """[T, S], logit of the first arm minus that of the second, nats."""
    moved: Array
    """[T, S], sum of |b error| so far, nats."""
    negative: Array
    """[T, S], number of negative errors so far."""
    pulls: Array
    """[T, S], number of pulls of the second arm so far."""
    converged_at: Array
    """[S], the last step whose error was not 0."""

    def since(self, share: float) -> NDArray[np.bool_]:
        """[T], the recorded steps from this share of all steps on: 0.01 selects the last two decades."""
        return np.asarray(self.steps >= share * self.steps[-1] * (1 - TINY))

    def last_decade(self, values: Array) -> Array:
        """[S], the change of `values` [T, S] over the last decade of steps."""
        return np.asarray(values[-1] - values[self.since(0.1)][0])


class Tables:
    """The tables of all learners and seeds."""

    def __init__(self, learners: Sequence[Learner], seeds: int) -> None:
        def column(values: Sequence[float]) -> Array:
            return np.array(values, dtype=np.float64)[:, None]

        shape = (len(learners), seeds)
        self.first, self.second = (column([one.rewards[arm] for one in learners]) for arm in (0, 1))
        self.by_v, self.by_q = (column([one.rule == rule for one in learners]) for rule in ("ppo", "actde"))
        self.gradient = column([one.gradient for one in learners])
        self.alpha, self.alpha_power = (
            column([getattr(one, key) for one in learners]) for key in ("alpha", "alpha_power")
        )
        self.b, self.b_power = (column([getattr(one, key) for one in learners]) for key in ("b", "b_power"))
        self.gap = np.broadcast_to(column([one.gap for one in learners]), shape).copy()
        self.values, self.q_first, self.q_second = (np.zeros(shape) for _ in range(3))
        self.moved, self.negative, self.pulls, self.converged_at = (np.zeros(shape) for _ in range(4))

    def step(self, n: int, uniform: Array) -> None:
        """Step n, from 1: the learners of a seed pull their first arm if `uniform` [S] is below pi(first)."""
        alpha, b = self.alpha / n**self.alpha_power, self.b / n**self.b_power
        p = expit(self.gap)
        taken = uniform < p
        reward = np.where(taken, self.first, self.second)
        q_taken = np.where(taken, self.q_first, self.q_second)
        error = reward - self.by_v * self.values - self.by_q * q_taken
        self.gap += b * error * (2 * taken - 1 + self.gradient * (1 - 2 * p))
        self.values += alpha * (reward - self.values)
        change = alpha * (reward - q_taken)
        self.q_first += change * taken
        self.q_second += change * ~taken
        self.moved += np.abs(b * error)
        self.negative += error < -TINY
        self.pulls += ~taken
        self.converged_at[np.abs(error) > TINY] = n


def log_spaced(steps: int, per_decade: int = 20) -> list[int]:
    """Numbers from 1 to `steps`, evenly spaced on a log scale, about `per_decade` a decade; all powers of 10."""
    places = np.geomspace(1, steps, round(np.log10(steps) * per_decade) + 1)
    return sorted({round(place) for place in places})


def simulate(
    learners: Sequence[Learner],
    *,
    steps: int,
    seeds: int,
    rng: np.random.Generator,
    at: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Curves]:
    """Name of the learner -> its curves over so many steps, recorded at the steps `at` (`log_spaced` by default)."""
    tables, wanted = Tables(learners, seeds), list(log_spaced(steps) if at is None else at)
    recorded: list[tuple[Array, ...]] = []
    for start in range(0, steps, BLOCK):
        uniform = rng.random((min(BLOCK, steps - start), seeds))
        for n, row in enumerate(uniform, start + 1):
            tables.step(n, row)
            if len(recorded) < len(wanted) and n == wanted[len(recorded)]:
                recorded.append(tuple(x.copy() for x in (tables.gap, tables.moved, tables.negative, tables.pulls)))
        if progress is not None:
            progress(f"{start + len(uniform):,} of {steps:,} steps of the bandit", start + len(uniform), steps)
    gap, moved, negative, pulls = (np.stack(rows) for rows in zip(*recorded, strict=True))
    return {
        one.name: Curves(
            steps=np.array(wanted),
            gap=gap[:, place],
            moved=moved[:, place],
            negative=negative[:, place],
            pulls=pulls[:, place],
            converged_at=tables.converged_at[place],
        )
        for place, one in enumerate(learners)
    }
