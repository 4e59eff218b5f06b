"""The tabular learners of the post by Turner and Einhorn (2023), for a bandit or any finite MDP.

They are plain Python, use one-step TD errors and clip nothing. With numbers of type `fractions.Fraction`, the tables
are exact. `actde/expected_update.py` treats the gradient of log pi, which changes all logits of a state.
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
    """One action and its outcome. At the end of an episode, `next_state` is None."""

    state: State
    action: Action
    reward: float
    next_state: State | None = None
    discount: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the tables in the post: a step t >= 1, its action and its error.

    `policy`, `value` and `q_values` describe the step's state after the update.
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
        logits: the initial logit of each action in each state, such as its log-probability.
        alpha: step size of v and q, in (0, 1].
        b: step size of the logits, above 0.
        value, q_value: the initial value of all entries of v, and of q.
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
        """Update the tables. Return the error r + gamma v(s') - baseline."""
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
    """The learner of the first table in the post. Its baseline is v(s).

    Each error changes one logit of the state with step size b, and v(s) with step size alpha. With the initial tables
    logit_0 and v_0, this gives

        sum over a of (logit(s, a) - logit_0(s, a)) = (b / alpha) (v(s) - v_0(s))

    The sum is bounded, but the differences between the logits are not.
    """

    def baseline(self, state: State, action: Action) -> float:
        return self.values[state]


class TabularACTDE(Tabular):
    """The learner of the second table in the post. Its baseline is q(s, a).

    The same error changes a logit with step size b, and q with step size alpha:

        logit(s, a) <- logit(s, a) + b error        q(s, a) <- q(s, a) + alpha error

    With the initial tables logit_0 and q_0, this invariant holds after every step, for every s and a of any MDP and for
    any v:

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a))

    Proof: Both sides are 0 at the start. A step adds b error to both sides of the entry (s, a) that it visits. With the
    temperature tau = alpha / b, the policy is

        pi(a|s) proportional to pi_0(a|s) exp((q(s, a) - q_0(s, a)) / tau)

    Every entry of v and q is a weighted mean of its initial value and of targets r + gamma v. For gamma < 1, this gives

        |q| <= max(|v_0|, |q_0|, max|r| / (1 - gamma))

    Bounded rewards thus give bounded logits, in sequential problems as well. Footnote 3 of the post leaves this open.
    """

    def baseline(self, state: State, action: Action) -> float:
        return self.q_values[state][action]


def replay(learner: Tabular, transitions: Iterable[Transition]) -> list[Row]:
    """Train the learner on the transitions in order. Return one row per transition."""
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
    """Return the transitions of a bandit on which the `actions` are taken in order."""
    return [Transition(state=state, action=action, reward=rewards[action]) for action in actions]
