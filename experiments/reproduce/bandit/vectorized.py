"""Simulate many tabular learners on two-armed bandits at once, each with many seeds.

The learners sample actions from their own policies. The update rules are those of `actde.tabular`, applied to arrays
[L, S] of L learners and S seeds. A test compares the two implementations. The policy depends only on the difference of
the two logits, so only this difference is stored. All learners of a seed use the same random numbers to sample actions.
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
"""Number of steps whose random numbers are drawn in one call."""
TINY = 1e-12
"""TD errors with a smaller absolute value count as rounding errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """One learner on one bandit.

    Steps n are counted from 1. At step n, the step size of v and q is alpha / n^alpha_power, and the step size of the
    logits is b / n^b_power.
    """

    name: str
    rule: Literal["ppo", "actde", "none"]
    """The baseline of the error: v for "ppo", q(a) for "actde", and 0 for "none" (vanilla policy gradient)."""
    rewards: tuple[float, float] = (1.0, 0.5)
    gap: float = 0.0
    """Initial logit of the first arm minus that of the second arm, in nats."""
    alpha: float = 1.0
    """Initial step size of v and q."""
    alpha_power: float = 0.0
    b: float = 1.0
    """Initial step size of the logits."""
    b_power: float = 0.0
    gradient: bool = False
    """Whether the error moves both logits along the gradient of log pi(a). If False, it moves only the logit of a."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The recorded curves of one learner, at T steps and for S seeds."""

    steps: NDArray[np.int64]
    """[T], the number of steps done."""
    gap: Array
    """[T, S], the logit of the first arm minus that of the second arm, in nats."""
    moved: Array
    """[T, S], the sum of |b error| so far, in nats."""
    negative: Array
    """[T, S], the number of negative errors so far."""
    pulls: Array
    """[T, S], the number of pulls of the second arm so far."""
    converged_at: Array
    """[S], the last step with a nonzero error."""

    def since(self, share: float) -> NDArray[np.bool_]:
        """Return a mask of the recorded steps that excludes the first steps.

        `share` is the fraction of all steps that the mask excludes. For example, with 0.01 the mask selects the last
        two decades, which are the last 99% of the steps. The shape is [T].
        """
        return np.asarray(self.steps >= share * self.steps[-1] * (1 - TINY))

    def last_decade(self, values: Array) -> Array:
        """Return the change of `values` [T, S] over the last decade of steps. The shape is [S]."""
        return np.asarray(values[-1] - values[self.since(0.1)][0])


class Tables:
    """The logits, v and q of all learners and seeds."""

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
        """Pull one arm and update the tables, for every learner and seed.

        Args:
            n: Number of the step, counted from 1.
            uniform: [S], one random number per seed. A learner pulls its first arm if this number is below pi(first).
        """
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
    """Return integers from 1 to `steps` that are evenly spaced on a log scale.

    There are about `per_decade` integers per decade. If `steps` is a power of 10, all smaller powers of 10 are
    included.
    """
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
    """Simulate all learners and return their curves by the learner's name.

    The curves are recorded at the steps `at`. If `at` is None, they are recorded at the steps of `log_spaced`.
    """
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
