"""Test the post's claim that consistent Q-functions have zero updates.

Consistent v and q are the exact values of the policy. Let v stay equal to the policy's mean of q. Then small errors of
q grow if M (F - I) has an eigenvalue with a positive real part:

* F: the Jacobian of q's targets with respect to q
* M: the diagonal matrix of the visit frequencies
* I: the identity matrix
"""

from dataclasses import replace

import numpy as np

from actde.tabular import Table, Tabular, TabularACTDE, Transition
from experiments.reproduce.bandit.mdp import MDP, advance, initial_logits, learn_on_policy, random_mdp
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import ROUNDING, all_zero, judge, over_seeds

NUDGE, FAR = 1e-3, 0.05  # standard deviation of a disturbance of q, and an error that is too large for it alone

# In a deterministic MDP, the first step from consistent tables has no error. Later, v(s) drifts away from the policy's
# mean of q(s, .), because v learns from sampled actions.
# If v(s) is kept at this mean, a disturbance dq of q changes, to first order, at a rate proportional to M (F - I) dq.


class ExpectedACTDE(TabularACTDE):
    """ACTDE that, after a step in state s, sets v(s) = sum over a of pi(a | s) q(s, a)."""

    def learn(self, step: Transition) -> float:
        error = super().learn(step)
        policy = self.policy(step.state)
        self.values[step.state] = sum(policy[action] * q for action, q in self.q_values[step.state].items())
        return error


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    """Measure TD errors of learners with consistent initial v and q."""
    mdps, steps = (6, 300) if quick else (100, 5000)
    largest_first, noisy_errors, later_errors, divergences = [], [], [], []
    for _ in range(mdps):
        logits = initial_logits(mdp := random_mdp(rng, 0.9), rng)
        largest_first.append(float(np.abs(first_errors(mdp, logits, rng)).max()))
        noisy_errors.append(first_errors(replace(mdp, noise=1.0), logits, rng))
        later_errors.append(later_error(mdp, logits, steps, rng))
        divergences.append(diverges(mdp, logits, steps, rng))
    mean = over_seeds([float(np.mean(errors)) for errors in noisy_errors])
    spread = over_seeds([float(np.sqrt(np.mean(np.square(errors)))) for errors in noisy_errors])
    return {
        "bellman.first": all_zero(largest_first),
        "bellman.noisy-mean": judge(mean, mean["low"] <= 0 <= mean["high"]),
        "bellman.noisy": judge(spread, spread["high"] < ROUNDING),
        "bellman.later": judge(over_seeds(later_errors), max(later_errors) < ROUNDING),
        "bellman.stable": judge(over_seeds(divergences, unit=True), not any(divergences)),
    }


def later_error(mdp: MDP, logits: Table, steps: int, rng: np.random.Generator) -> float:
    """Train ACTDE for `steps` steps. Return the later half's root mean square TD error."""
    errors = advance(learn_on_policy(make_consistent(TabularACTDE(logits, alpha=0.1, b=0.1), mdp), mdp, rng), steps)
    return float(np.sqrt(np.mean(errors[steps // 2 :] ** 2)))


def diverges(mdp: MDP, logits: Table, steps: int, rng: np.random.Generator) -> bool:
    """Return whether small random errors of the initial q make `ExpectedACTDE` diverge."""
    learner = make_consistent(ExpectedACTDE(logits, alpha=0.1, b=0.1), mdp)
    for row in learner.q_values.values():
        for action in row:
            row[action] += rng.normal(0, NUDGE)
    return bool(np.abs(advance(learn_on_policy(learner, mdp, rng), steps)).max() > FAR)


def first_errors(mdp: MDP, logits: Table, rng: np.random.Generator) -> list[float]:
    """Return a new learner's first TD error for each (state, action)."""
    return [
        make_consistent(TabularACTDE(logits), mdp).learn(mdp.step(state, action, rng))
        for state, action in np.ndindex(mdp.rewards.shape)
    ]


def make_consistent(learner: Tabular, mdp: MDP) -> Tabular:
    """Set v and q to the exact values of the learner's policy. Return the learner."""
    policy = np.array([list(learner.policy(state).values()) for state in learner.logits])
    identity = np.eye(len(policy))
    transitions = (policy[..., None] * identity[mdp.next_states]).sum(axis=1)
    # v = r_pi + discount P_pi v, then q(s, a) = r(s, a) + discount v(next state)
    values = np.linalg.solve(identity - mdp.discount * transitions, (policy * mdp.rewards).sum(axis=1))
    q_values = mdp.rewards + mdp.discount * values[mdp.next_states]
    learner.values.update(enumerate(values.tolist()))
    learner.q_values.update((state, dict(enumerate(row))) for state, row in enumerate(q_values.tolist()))
    return learner
