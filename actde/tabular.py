"""The post's tabular learners, exactly: tables of policy logits, v and q, for a bandit or any finite MDP.

One step of one-step errors, without networks, batches, lambda or clipping, in plain Python: here the claims
about the two rules can be proved. Numbers may be floats or `fractions.Fraction` (then all tables are exact).

**The ledger.** In ACTDE the same error moves a logit with step b and q with step alpha:

    logit(s, a) <- logit(s, a) + b error        q(s, a) <- q(s, a) + alpha error

so at every moment, for every s and a of any MDP, after any history and whatever v does,

    logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a)).

Proof: both sides are 0 at the start. A step changes only the entry (s, a) that it visits, the left side by
b error, the right side by (b / alpha) alpha error, which is the same. So the policy is a ledger of q:

    pi(a|s) is proportional to pi_0(a|s) exp((b / alpha) (q(s, a) - q_0(s, a))),

and alpha / b is its temperature. With 0 < alpha <= 1 every entry of v and q stays a weighted mean of its
initial value and of targets r + gamma v, so |q| <= max(|v_0|, |q_0|, max|r| / (1 - gamma)) for gamma < 1:
bounded rewards give bounded logits, in the sequential case as in the bandit (the post leaves that open).

**PPO's ledger** is of a sum. Its error moves one logit of the state, and v(s):

    sum over a of (logit(s, a) - logit_0(s, a)) = (b / alpha) (v(s) - v_0(s)).

The sum is bounded, but nothing bounds the differences: one logit may rise without end as the others fall.
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
    """One action and what it led to."""

    state: State
    action: Action
    reward: float
    next_state: State | None = None
    """None: the episode is over, and nothing follows."""
    discount: float = 1.0
    """gamma for what follows; of no effect after the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the post's tables: an action, its error, and the tables of its state just after it."""

    t: int
    """From 1."""
    action: Action
    error: float
    """What the logit moved by, before the step size; units of reward."""
    policy: dict[Action, float]
    """pi_t(. | state)."""
    value: float
    """v_t(state)."""
    q_values: dict[Action, float]
    """q_t(state, .)."""


class Tabular(ABC):
    """Tables of logits, v and q that learn from one transition at a time.

    `logits` gives the initial policy: state -> action -> logit (log-probabilities will do). v and q start at
    `value` and `q_value`, and move towards r + gamma v(s') with step `alpha`; logits move with step `b`.
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
        """What was expected, in units of reward."""

    def learn(self, step: Transition) -> float:
        """Moves logits, v and q by one transition; returns the error r + gamma v(s') - baseline."""
        state, action = step.state, step.action
        future = 0 if step.next_state is None else step.discount * self.values[step.next_state]
        target = step.reward + future
        error = target - self.baseline(state, action)
        self.logits[state][action] += self.b * error
        self.q_values[state][action] += self.alpha * (target - self.q_values[state][action])
        self.values[state] += self.alpha * (target - self.values[state])
        return error

    def policy(self, state: State) -> dict[Action, float]:
        """pi(. | state): the softmax of its logits."""
        row = {action: float(logit) for action, logit in self.logits[state].items()}
        top = max(row.values())
        weights = {action: math.exp(logit - top) for action, logit in row.items()}
        total = sum(weights.values())
        return {action: weight / total for action, weight in weights.items()}

    def choose(self, state: State, rng: random.Random) -> Action:
        """One action of the policy."""
        policy = self.policy(state)
        return rng.choices(list(policy), weights=list(policy.values()))[0]


class TabularPPO(Tabular):
    """b = v(s), the post's first table."""

    def baseline(self, state: State, action: Action) -> float:
        return self.values[state]


class TabularACTDE(Tabular):
    """b = q(s, a), the post's second table."""

    def baseline(self, state: State, action: Action) -> float:
        return self.q_values[state][action]


def replay(learner: Tabular, steps: Iterable[Transition]) -> list[Row]:
    """The learner goes through these transitions, and every step of it is written down."""
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
    """The transitions of a bandit: one state, a reward for every action, nothing after it."""
    return [Transition(state=state, action=action, reward=rewards[action]) for action in actions]
