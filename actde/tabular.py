"""The tabular learners of the post, exactly: logits, v and q of a bandit or of any finite MDP.

Plain Python, one transition at a time, lambda = 0, no clipping. With `fractions.Fraction` the tables are exact, so the
statements below can be tested as equalities.

**The invariant of ACTDE.** The same error moves a logit with step b and q with step alpha,

    logit(s, a) <- logit(s, a) + b error        q(s, a) <- q(s, a) + alpha error

so at every moment, for every s and a of any MDP, after any history and for any v,

    logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a)).

Proof: both sides are 0 at the start. A step changes only the entry (s, a) that it visits, both sides by b error. Hence

    pi(a|s) is proportional to pi_0(a|s) exp((q(s, a) - q_0(s, a)) / tau)   with the temperature tau = alpha / b.

With 0 < alpha <= 1 every entry of v and q stays a weighted mean of its initial value and of targets r + gamma v, so
|q| <= max(|v_0|, |q_0|, max|r| / (1 - gamma)) for gamma < 1. Bounded rewards therefore give bounded logits, also in
sequential problems, which the post leaves open.

**The invariant of PPO** holds for a sum only. Its error moves one logit of the state, and v(s):

    sum over a of (logit(s, a) - logit_0(s, a)) = (b / alpha) (v(s) - v_0(s)).

The sum is bounded, the differences are not: one logit may rise without bound while the others fall.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

State: TypeAlias = Hashable
Action: TypeAlias = Hashable
Table: TypeAlias = dict[State, dict[Action, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One action and its outcome."""

    state: State
    action: Action
    reward: float
    next_state: State | None = None
    """None after the end of an episode."""
    discount: float = 1.0
    """gamma; ignored after the end of an episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the post's tables: an action, its error, and the tables of its state after the step."""

    t: int
    """Step, counted from 1."""
    action: Action
    error: float
    """TD error, in units of reward; the logit moves by b times it."""
    policy: dict[Action, float]
    """pi_t(. | state)."""
    value: float
    """v_t(state)."""
    q_values: dict[Action, float]
    """q_t(state, .)."""


class Tabular(ABC):
    """Tables of logits, v and q that learn from one transition at a time.

    Args:
        logits: the initial policy, state -> action -> logit (or log-probability).
        alpha: step size of v and q towards r + gamma v(s'), in (0, 1].
        b: step size of the logits, above 0.
        value: initial v.
        q_value: initial q.
    """

    def __init__(
        self,
        logits: Mapping[State, Mapping[Action, float]],
        *,
        alpha: float = 1,
        b: float = 1,
        value: float = 0,
        q_value: float = 0,
    ) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], got {alpha}")
        if not b > 0:
            raise ValueError(f"b must be above 0, got {b}")
        self.alpha = alpha
        self.b = b
        self.logits: Table = {state: dict(row) for state, row in logits.items()}
        self.values: dict[State, float] = dict.fromkeys(self.logits, value)
        self.q_values: Table = {state: dict.fromkeys(row, q_value) for state, row in self.logits.items()}

    @abstractmethod
    def baseline(self, state: State, action: Action) -> float:
        """b(s, a), in units of reward."""

    def learn(self, step: Transition) -> float:
        """Update logits, v and q from one transition; return the error r + gamma v(s') - baseline."""
        state, action = step.state, step.action
        future = 0 if step.next_state is None else step.discount * self.values[step.next_state]
        target = step.reward + future
        error = target - self.baseline(state, action)
        self.logits[state][action] += self.b * error
        self.q_values[state][action] += self.alpha * (target - self.q_values[state][action])
        self.values[state] += self.alpha * (target - self.values[state])
        return error

    def policy(self, state: State) -> dict[Action, float]:
        """pi(. | state), the softmax of the logits."""
        row = {action: float(logit) for action, logit in self.logits[state].items()}
        top = max(row.values())
        weights = {action: math.exp(logit - top) for action, logit in row.items()}
        total = sum(weights.values())
        return {action: weight / total for action, weight in weights.items()}

    def sample(self, state: State, rng: random.Random) -> Action:
        """An action sampled from the policy."""
        policy = self.policy(state)
        return rng.choices(list(policy), weights=list(policy.values()))[0]


class TabularPPO(Tabular):
    """Baseline v(s): the post's first table."""

    def baseline(self, state: State, action: Action) -> float:
        return self.values[state]


class TabularACTDE(Tabular):
    """Baseline q(s, a): the post's second table."""

    def baseline(self, state: State, action: Action) -> float:
        return self.q_values[state][action]


def replay(learner: Tabular, steps: Iterable[Transition]) -> list[Row]:
    """Train the learner on these transitions; a row for every step."""
    rows = []
    for t, step in enumerate(steps, start=1):
        error = learner.learn(step)
        rows.append(
            Row(
                t=t,
                action=step.action,
                error=error,
                policy=learner.policy(step.state),
                value=learner.values[step.state],
                q_values=dict(learner.q_values[step.state]),
            )
        )
    return rows


def bandit_steps(state: State, rewards: Mapping[Action, float], actions: Iterable[Action]) -> list[Transition]:
    """Transitions of a bandit: one state, a fixed reward for each action, episodes of one step."""
    return [Transition(state=state, action=action, reward=rewards[action]) for action in actions]
