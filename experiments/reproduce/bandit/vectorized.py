"""Simulate many tabular learners on two-armed bandits at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce import Progress
from experiments.reproduce.statistics import Array

BLOCK = 1000  # steps whose random numbers are drawn in one call
TINY = 1e-12  # smaller TD errors count as rounding errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """The settings of one learner on one bandit."""

    name: str
    rule: Literal["ppo", "actde", "none"]  # the baseline of the error is v, q(a) or 0
    rewards: tuple[float, float] = (1.0, 0.5)
    gap: float = 0.0  # the initial logit of the first arm minus that of the second, in nats
    alpha: float = 1.0
    alpha_power: float = 0.0  # at step n, the step size of v and q is alpha / n^alpha_power
    b: float = 1.0
    b_power: float = 0.0  # at step n, the step size of the logits is b / n^b_power
    gradient: bool = False  # if false, an error moves only the logit of the pulled arm


@dataclass(frozen=True, slots=True)
class Curves:
    """The training curves [steps, seeds] of one learner."""

    steps: NDArray[np.int64]  # [steps]
    gap: Array  # the logit of the first arm minus that of the second, in nats
    movement: Array  # the sum of |b error| so far
    negative_errors: Array  # the number of negative errors so far
    pulls: Array  # of the second arm so far
    converged_at: Array  # the last step with a nonzero error [seeds]

    def after(self, fraction: float, values: NDArray[Any]) -> Array:
        """Return `values` [steps, ...] without the first `fraction` of the steps."""
        return np.asarray(values[self.steps >= fraction * self.steps[-1] * (1 - TINY)])

    def last_decade(self, values: Array) -> Array:
        """Return each seed's change of `values` [steps, seeds] in the last 90% of steps."""
        return np.asarray(values[-1] - self.after(0.1, values)[0])


class Tables:
    """The logits, v and q of many learners, as arrays [learners, seeds]."""

    def __init__(self, learners: Sequence[Learner], seeds: int) -> None:
        settings = attrgetter("alpha", "alpha_power", "b", "b_power", "gradient", "gap")
        rows = [
            (*learner.rewards, learner.rule == "ppo", learner.rule == "actde", *settings(learner))
            for learner in learners
        ]
        columns = np.array(rows, dtype=np.float64).T[..., None]
        self.first_reward, self.second_reward, self.v_weight, self.q_weight = columns[:4]
        self.alpha, self.alpha_power, self.b, self.b_power, self.gradient, gap = columns[4:]
        self.gap, *zeros = (np.zeros((len(learners), seeds)) for _ in range(8))
        self.gap += gap
        self.values, self.q_first, self.q_second, *records = zeros
        self.movement, self.negative_errors, self.pulls, self.converged_at = records

    def step(self, n: int, uniform: Array) -> None:
        """Train all learners on step `n`. All share the random numbers `uniform` [seeds]."""
        # the update rules of `actde.tabular`
        alpha, b = self.alpha / n**self.alpha_power, self.b / n**self.b_power
        p_first = expit(self.gap)
        pulled_first = uniform < p_first
        reward = np.where(pulled_first, self.first_reward, self.second_reward)
        q_pulled = np.where(pulled_first, self.q_first, self.q_second)
        error = reward - self.v_weight * self.values - self.q_weight * q_pulled
        self.gap += b * error * (2 * pulled_first - 1 + self.gradient * (1 - 2 * p_first))
        self.values += alpha * (reward - self.values)
        change = alpha * (reward - q_pulled)
        self.q_first += change * pulled_first
        self.q_second += change * ~pulled_first
        self.movement += np.abs(b * error)
        self.negative_errors += error < -TINY
        self.pulls += ~pulled_first
        self.converged_at[np.abs(error) > TINY] = n


def log_spaced(steps: int) -> list[int]:
    """Return log-spaced integers from 1 to `steps`, about 20 per decade."""
    return sorted(set(map(round, np.geomspace(1, steps, round(np.log10(steps) * 20) + 1))))


def simulate(
    learners: Sequence[Learner],
    *,
    steps: int,
    seeds: int,
    rng: np.random.Generator,
    record_steps: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Curves]:
    """Simulate all learners. Return learner name -> curves."""
    tables, recorded_steps = Tables(learners, seeds), list(log_spaced(steps) if record_steps is None else record_steps)
    records: list[Array] = []
    for start in range(0, steps, BLOCK):
        uniform = rng.random((min(BLOCK, steps - start), seeds))
        for n, row in enumerate(uniform, start + 1):
            tables.step(n, row)
            if len(records) < len(recorded_steps) and n == recorded_steps[len(records)]:
                records.append(np.stack([tables.gap, tables.movement, tables.negative_errors, tables.pulls]))
        if progress is not None:
            progress(f"{start + len(uniform):,} of {steps:,} steps of the bandit", start + len(uniform), steps)
    columns = np.array(records).transpose(1, 2, 0, 3)  # [4, L, T, S]
    return {
        learner.name: Curves(np.array(recorded_steps), *curves)
        for learner, *curves in zip(learners, *columns, tables.converged_at, strict=True)
    }
