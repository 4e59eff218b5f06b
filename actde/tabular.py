"""PPO and ACTDE on tables, as in the post by Turner and Einhorn (2023).

With numbers of type `fractions.Fraction`, the tables are exact.
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
    """One action and its outcome. `next_state` is None at the end of an episode."""

    state: State
    action: Action
    reward: float
    next_state: State | None = None
    discount: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A training step, counted from `t` = 1.

    `policy`, `value` and `q_values` are the updated numbers of the state in which `action` was taken.
    """

    t: int
    action: Action
    error: float
    policy: dict[Action, float]
    value: float
    q_values: dict[Action, float]


class Tabular(ABC):
    """Tables of logits, v and q that learn from one transition at a time.

    Args:
        logits: the initial logit of each action in each state.
        alpha: step size of v and q, in (0, 1].
        b: step size of the logits, above 0.
        value: initial value of all entries of v.
        q_value: initial value of all entries of q.
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
        self.alpha, self.b = alpha, b
        self.logits: Table = {state: dict(row) for state, row in logits.items()}
        self.values: dict[State, float] = dict.fromkeys(self.logits, value)
        self.q_values: Table = {state: dict.fromkeys(row, q_value) for state, row in self.logits.items()}

    @abstractmethod
    def baseline(self, state: State, action: Action) -> float:
        """Return the baseline of an action, in units of reward."""

    def learn(self, transition: Transition) -> float:
        """Update the tables, and return the TD error r + gamma v(s') - baseline."""
        state, action = transition.state, transition.action
        target = transition.reward + (
            0 if transition.next_state is None else transition.discount * self.values[transition.next_state]
        )
        error = target - self.baseline(state, action)
        self.logits[state][action] += self.b * error
        self.q_values[state][action] += self.alpha * (target - self.q_values[state][action])
        self.values[state] += self.alpha * (target - self.values[state])
        return error

    def policy(self, state: State) -> dict[Action, float]:
        """Return pi(. | state), the softmax of the logits."""
        logits = {action: float(logit) for action, logit in self.logits[state].items()}
        largest = max(logits.values())
        weights = {action: math.exp(logit - largest) for action, logit in logits.items()}
        total = sum(weights.values())
        return {action: weight / total for action, weight in weights.items()}

    def sample(self, state: State, rng: random.Random) -> Action:
        policy = self.policy(state)
        return rng.choices([*policy], weights=[*policy.values()])[0]


class TabularPPO(Tabular):
    """The PPO of Turner and Einhorn (2023), with the baseline v(s).

    A TD error `error` adds b error to one logit, and alpha error to v(s). Let logit_0 and v_0 be the initial tables.
    After every step,

        sum over a of (logit(s, a) - logit_0(s, a)) = (b / alpha) (v(s) - v_0(s))

    If v is bounded, the sum is bounded. The differences between the logits have no bound.
    """

    def baseline(self, state: State, action: Action) -> float:
        return self.values[state]


class TabularACTDE(Tabular):
    """The ACTDE of Turner and Einhorn (2023), with the baseline q(s, a).

    **Invariant.** A TD error `error` changes one logit and one entry of q:

        logit(s, a) <- logit(s, a) + b error        q(s, a) <- q(s, a) + alpha error

    Let logit_0 and q_0 be the initial tables. After every step, for every state and action,

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a))

    Proof: Both sides are 0 at the start. A step at (s, a) adds b error to both sides at (s, a).

    **Policy.** Let pi_0 be the initial policy, and tau = alpha / b. By the invariant,

        pi(a|s) proportional to pi_0(a|s) exp((q(s, a) - q_0(s, a)) / tau)

    **Bound.** Every entry of v and q is a weighted mean of its initial value and of targets r + gamma v. If gamma < 1,

        |q| <= max(|v_0|, |q_0|, max|r| / (1 - gamma))

    Bounded rewards thus give bounded logits.
    """

    def baseline(self, state: State, action: Action) -> float:
        return self.q_values[state][action]


def replay(learner: Tabular, transitions: Iterable[Transition]) -> list[Row]:
    """Train the learner on the transitions in order, and return a row per transition."""
    return [
        Row(
            t=t,
            action=transition.action,
            error=learner.learn(transition),  # evaluated before the entries below
            policy=learner.policy(transition.state),
            value=learner.values[transition.state],
            q_values=dict(learner.q_values[transition.state]),
        )
        for t, transition in enumerate(transitions, start=1)
    ]


def bandit_steps(state: State, rewards: Mapping[Action, float], actions: Iterable[Action]) -> list[Transition]:
    """Return the transitions of a bandit, one for each action in `actions`."""
    return [Transition(state=state, action=action, reward=rewards[action]) for action in actions]
