"""The tabular learners of a bandit with two arms, on policy, many settings (lanes) and seeds at once.

The same rules as `actde.tabular` (a test holds the two together), as arrays [L, S] of L lanes and S seeds. Only the
difference of the two logits is kept, since the policy depends on nothing else. All lanes of a seed draw their
actions with the same random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce import Progress

Array = NDArray[np.float64]
BLOCK = 1000
"""Steps for which random numbers are drawn at once."""
TINY = 1e-12
"""Errors below this are rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One learner on one bandit. Its step sizes at step n, from 1, are alpha / n^alpha_power and b / n^b_power."""

    name: str
    rule: Literal["ppo", "actde", "none"]
    """What is taken off the reward: v, q of the action, or nothing (vanilla policy gradient)."""
    rewards: tuple[float, float] = (1.0, 0.5)
    gap: float = 0.0
    """Initial difference of the logits, first arm less second; nats."""
    alpha: float = 1.0
    alpha_power: float = 0.0
    b: float = 1.0
    b_power: float = 0.0
    gradient: bool = False
    """True: the error moves the logits along the gradient of log pi(a), not only the logit of a."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What became of L lanes and S seeds at T moments."""

    names: tuple[str, ...]
    """[L]"""
    steps: NDArray[np.int64]
    """[T], steps done."""
    gap: Array
    """[T, L, S], logit of the first arm less that of the second, nats."""
    moved: Array
    """[T, L, S], sum of |b error| so far, nats."""
    negative: Array
    """[T, L, S], errors below 0 so far."""
    tries: Array
    """[T, L, S], how often the second arm was taken so far."""
    settled: NDArray[np.int64]
    """[L, S], the last step whose error was not 0."""

    def of(self, name: str) -> "Course":
        """The course of one lane alone, L = 1."""
        place = self.names.index(name)
        one = slice(place, place + 1)
        return Course(
            names=(name,),
            steps=self.steps,
            gap=self.gap[:, one],
            moved=self.moved[:, one],
            negative=self.negative[:, one],
            tries=self.tries[:, one],
            settled=self.settled[one],
        )

    def since(self, share: float) -> NDArray[np.bool_]:
        """[T], the moments from this share of all steps on: 0.01 for the last two decades."""
        return np.asarray(self.steps >= share * self.steps[-1] * (1 - TINY))


class Lanes:
    """The tables of all lanes and seeds."""

    def __init__(self, lanes: Sequence[Lane], seeds: int) -> None:
        def column(values: Sequence[float]) -> Array:
            return np.array(values, dtype=np.float64)[:, None]

        shape = (len(lanes), seeds)
        self.first, self.second = (column([lane.rewards[arm] for lane in lanes]) for arm in (0, 1))
        self.by_v, self.by_q = (column([lane.rule == rule for lane in lanes]) for rule in ("ppo", "actde"))
        self.gradient = column([lane.gradient for lane in lanes])
        self.rates = tuple(
            (column(size), column(power))
            for size, power in (
                ([lane.alpha for lane in lanes], [lane.alpha_power for lane in lanes]),
                ([lane.b for lane in lanes], [lane.b_power for lane in lanes]),
            )
        )
        self.gap = np.broadcast_to(column([lane.gap for lane in lanes]), shape).copy()
        self.values, self.q_first, self.q_second, self.moved = (np.zeros(shape) for _ in range(4))
        self.negative, self.tries = np.zeros(shape), np.zeros(shape)
        self.settled = np.zeros(shape, dtype=np.int64)

    def step(self, n: int, uniform: Array) -> None:
        """Step n, from 1: every lane of a seed takes its first arm where `uniform` [S] is below pi(first)."""
        alpha, b = (size / n**power for size, power in self.rates)
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
        self.tries += ~taken
        self.settled[np.abs(error) > TINY] = n


def moments(steps: int, per_decade: int = 20) -> list[int]:
    """About `per_decade` steps in every decade, from 1 to `steps`, evenly in their logarithm; every power of 10."""
    places = np.geomspace(1, steps, round(np.log10(steps) * per_decade) + 1)
    return sorted({round(place) for place in places})


def simulate(
    lanes: Sequence[Lane],
    *,
    steps: int,
    seeds: int,
    rng: np.random.Generator,
    at: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Course:
    """Let all lanes learn for so many steps; what they are is kept at the steps `at` (`moments` by default)."""
    tables, wanted = Lanes(lanes, seeds), list(moments(steps) if at is None else at)
    kept: list[tuple[Array, ...]] = []
    for start in range(0, steps, BLOCK):
        uniform = rng.random((min(BLOCK, steps - start), seeds))
        for place, row in enumerate(uniform, start + 1):
            tables.step(place, row)
            if len(kept) < len(wanted) and place == wanted[len(kept)]:
                kept.append(tuple(table.copy() for table in (tables.gap, tables.moved, tables.negative, tables.tries)))
        if progress is not None:
            progress(f"{start + len(uniform):,} of {steps:,} steps of the bandit", start + len(uniform), steps)
    gap, moved, negative, tries = (np.stack([row[place] for row in kept]) for place in range(4))
    return Course(
        names=tuple(lane.name for lane in lanes),
        steps=np.array(wanted),
        gap=gap,
        moved=moved,
        negative=negative,
        tries=tries,
        settled=tables.settled,
    )
