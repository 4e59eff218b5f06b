"""The statements of `actde/expected_update.py`, on random MDPs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actde import expected_update
from actde.expected_update import QForm, train_bandit

Array = NDArray[np.float64]


def softmax(logits: Array) -> Array:
    return np.asarray(torch.from_numpy(logits).softmax(-1).numpy())


def policy_step(policy: Array, advantages: Array) -> Array:
    return np.asarray(expected_update.policy_step(*map(torch.from_numpy, (policy, advantages))).numpy())


def kl_gradient(policy: Array, reference: Array) -> Array:
    return policy_step(policy, np.log(policy / reference))


def limit(reference: Array, q: Array, tau: float) -> Array:
    return np.asarray(expected_update.limit_policy(torch.from_numpy(reference), torch.from_numpy(q), tau).numpy())


def centred(policy: Array, h: Array) -> Array:
    return np.asarray(expected_update.centred(*map(torch.from_numpy, (policy, h))).numpy())


some = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
taus = st.floats(0.1, 5)


class MDP:
    """A random MDP of S states and A actions with noisy transitions, and a random policy and reference policy."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        states, actions = int(rng.integers(1, 5)), int(rng.integers(2, 6))
        self.rewards = rng.normal(0, 2, (states, actions))
        self.transitions = rng.dirichlet(np.ones(states), (states, actions))
        self.discount = float(rng.choice([0.0, 0.5, 0.9]))
        self.policy, self.reference = (softmax(rng.normal(0, 2, (states, actions))) for _ in range(2))
        self.rng = rng

    def q(self, policy: Array) -> Array:
        """Return Q^pi, the solution of Bellman's equation. The shape is [S, A]."""
        chain = np.einsum("sat,sa->st", self.transitions, policy)
        values = np.linalg.solve(np.eye(len(chain)) - self.discount * chain, (policy * self.rewards).sum(1))
        return np.asarray(self.rewards + self.discount * self.transitions @ values)


@some
@given(seeds)
def test_every_policy_with_its_own_q_is_a_rest_point(seed: int) -> None:
    mdp = MDP(seed)
    q = mdp.q(mdp.policy)
    values: Array = (mdp.policy * q).sum(1)
    errors: Array = mdp.rewards + mdp.discount * (mdp.transitions @ values) - q
    np.testing.assert_allclose(errors, 0, atol=1e-9)
    shift: Array = mdp.rng.normal(size=(len(q), 1))
    np.testing.assert_allclose(policy_step(mdp.policy, errors + shift), 0, atol=1e-9)


@some
@given(seeds)
def test_the_expected_step_is_the_mean_over_samples(seed: int) -> None:
    mdp = MDP(seed)
    policy = mdp.policy[0]
    advantages: Array = mdp.rng.normal(size=policy.shape)
    steps = advantages[:, None] * (np.eye(len(policy)) - policy)
    np.testing.assert_allclose(policy_step(policy, advantages), policy @ steps, atol=1e-12)


@some
@given(seeds)
def test_the_gradient_of_the_kl(seed: int) -> None:
    mdp = MDP(seed)
    logits, reference, step = np.log(mdp.policy[0]), mdp.reference[0], 1e-6

    def kl(at: Array) -> float:
        policy = softmax(at)
        return float(policy @ np.log(policy / reference))

    sides = [(kl(logits + step * unit) - kl(logits - step * unit)) / (2 * step) for unit in np.eye(len(logits))]
    np.testing.assert_allclose(kl_gradient(mdp.policy[0], reference), sides, atol=1e-6)


@some
@given(seeds, taus)
def test_actde_steps_as_ppo_with_a_kl_penalty_where_q_is_the_log_ratio(seed: int, tau: float) -> None:
    """The policy has parameters that all states and actions share, so the test covers networks."""
    mdp = MDP(seed)
    true_q, features = mdp.q(mdp.policy), mdp.rng.normal(size=(*mdp.policy.shape, 3))
    q = mdp.rng.normal(size=(len(true_q), 1)) + tau * np.log(mdp.policy / mdp.reference)
    score = features - np.einsum("sa,saf->sf", mdp.policy, features)[:, None]  # grad log pi, [S, A, F]
    kl_score = np.einsum("sa,saf->sf", kl_gradient(mdp.policy, mdp.reference), features)
    ours, ppo = (np.einsum("sa,saf->sf", mdp.policy * error, score) for error in (true_q - q, true_q))
    np.testing.assert_allclose(ours, ppo - tau * kl_score, atol=1e-8)


@some
@given(seeds, taus)
def test_the_penalised_gradient_rests_only_at_the_limit(seed: int, tau: float) -> None:
    mdp = MDP(seed)
    q = mdp.rewards
    resting = limit(mdp.reference, q, tau)
    np.testing.assert_allclose(policy_step(resting, q) - tau * kl_gradient(resting, mdp.reference), 0, atol=1e-9)
    elsewhere = policy_step(mdp.policy, q) - tau * kl_gradient(mdp.policy, mdp.reference)
    apart = np.abs(mdp.policy - limit(mdp.reference, q, tau)).max()
    assert apart < 1e-6 or np.abs(elsewhere).max() > 0


@some
@given(seeds, st.floats(0.05, 1), st.floats(0.05, 1))
def test_the_invariant_of_a_centred_q_holds_for_the_gradient_of_log_pi(seed: int, alpha: float, b: float) -> None:
    """It holds for samples of any behaviour policy, noisy targets and any v."""
    mdp = MDP(seed)
    rng, start, h_0 = mdp.rng, np.log(mdp.reference), mdp.rng.normal(size=mdp.policy.shape)
    logits, h = start.copy(), h_0.copy()
    for _ in range(30):
        state, action = (int(rng.integers(n)) for n in logits.shape)
        policy, value, target = softmax(logits[state]), rng.normal(), rng.normal(0, 3)
        error = target - value - centred(policy, h[state])[action]
        score = np.eye(len(policy))[action] - policy
        logits[state] += b * error * score
        h[state] += alpha * error * score
        np.testing.assert_allclose(logits - start, b / alpha * (h - h_0), atol=1e-8)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("seed", range(2, 6))
def test_both_invariants_select_the_limit_in_sequential_problems(seed: int, centre: bool) -> None:
    """Expected steps with v = V^pi: the post's one-logit rule with a table q, and the gradient with a centred q.

    Rewards are small against tau. Otherwise some actions become so rare that convergence takes too long to test.
    """
    mdp, tau = MDP(seed), 2.0
    mdp.rewards /= 4
    start = np.log(0.5 * mdp.reference + 0.5 / mdp.reference.shape[1])
    logits, h = start.copy(), np.zeros_like(start)
    for _ in range(1500):
        policy = softmax(logits)
        q = mdp.q(policy)
        values = (policy * q).sum(1, keepdims=True)
        step = policy_step(policy, q - values - centred(policy, h)) if centre else policy * (q - h)
        logits, h = logits + 0.5 / tau * step, h + 0.5 * step
    np.testing.assert_allclose(policy, limit(softmax(start), mdp.q(policy), tau), atol=1e-4)
    assert np.abs(policy - softmax(start)).max() > 0.02


def test_a_kl_in_the_reward_is_another_problem_beyond_a_single_choice() -> None:
    """With the KL in the reward, Q contains the KL of later choices. Without later choices, the limits are the same."""
    mdp, tau = MDP(3), 1.0
    assert mdp.discount > 0

    def with_kl_in_reward(discount: float) -> Array:
        q = mdp.rewards
        for _ in range(400):
            soft = tau * np.log((mdp.reference * np.exp(q / tau)).sum(1))  # the optimal value with the KL
            q = mdp.rewards + discount * (mdp.transitions @ soft)
        return limit(mdp.reference, q, tau)

    np.testing.assert_allclose(with_kl_in_reward(0.0), limit(mdp.reference, mdp.rewards, tau))
    policy = with_kl_in_reward(mdp.discount)
    assert np.abs(policy - limit(mdp.reference, mdp.q(policy), tau)).max() > 0.01


def random_bandit(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    arms = int(rng.integers(2, 5))
    return rng.dirichlet(3 * np.ones(arms)) * 0.9 + 0.1 / arms, rng.uniform(0, 1, arms)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(seeds, st.floats(0.4, 2))
def test_a_centred_q_ends_at_the_limit(seed: int, tau: float) -> None:
    start, means = random_bandit(seed)
    tensors = torch.from_numpy(start), torch.from_numpy(means)
    policy = train_bandit(*tensors, b=0.5, alpha=0.5 * tau, steps=8000, form="centred")
    np.testing.assert_allclose(policy.numpy(), limit(start, means, tau), atol=2e-3)


@pytest.mark.parametrize(("form", "wanted"), [("table", 0.57), ("dueling", 0.98), ("centred", 0.88), ("none", 1.0)])
def test_the_form_of_q_decides_where_actde_ends(form: QForm, wanted: float) -> None:
    """Rewards 1 and 0.5, tau = 0.25. The one-logit rule ends at 0.88 (`test_tabular.py` holds its invariant)."""
    start, means = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.5])
    policy = train_bandit(start, means, b=0.2, alpha=0.05, value_step=0.05, steps=6000, form=form)
    assert float(policy[0]) == pytest.approx(wanted, abs=0.01)
