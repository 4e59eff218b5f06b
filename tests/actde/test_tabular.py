"""The post's tables cell by cell, and the invariants of ACTDE and of PPO for any MDP and any history."""

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actde.tabular import Tabular, TabularACTDE, TabularPPO, Transition, bandit_steps, replay

STATE = "We had a"
REWARDS: dict[Any, float] = {"wedding": 1, "party": 0.5}
HISTORY = ["wedding", "party", "party", "wedding"]
EVEN: dict[Any, dict[Any, float]] = {STATE: {"wedding": 0, "party": 0}}


def test_the_posts_ppo_table() -> None:
    rows = replay(TabularPPO(EVEN), bandit_steps(STATE, REWARDS, HISTORY))
    assert [row.t for row in rows] == [1, 2, 3, 4]
    assert [row.action for row in rows] == HISTORY
    assert [row.error for row in rows] == [1, -0.5, 0, 0.5]
    assert [f"{row.policy['wedding']:.2f}" for row in rows] == ["0.73", "0.82", "0.82", "0.88"]
    assert [row.value for row in rows] == [1, 0.5, 0.5, 1]


def test_the_posts_actde_table() -> None:
    """The post prints .63, but its rule gives e / (e + sqrt e) = .6225."""
    rows = replay(TabularACTDE(EVEN), bandit_steps(STATE, REWARDS, HISTORY))
    assert [row.error for row in rows] == [1, 0.5, 0, 0]
    assert f"{rows[0].policy['wedding']:.2f}" == "0.73"
    for row in rows[1:]:
        assert row.policy["wedding"] == pytest.approx(math.e / (math.e + math.exp(0.5)))
        assert f"{row.policy['wedding']:.4f}" == "0.6225"
        assert row.q_values == {"wedding": 1, "party": 0.5}
    assert rows[0].q_values == {"wedding": 1, "party": 0}


def bandit(kind: type[Tabular], rewards: dict[Any, float], logits: dict[Any, float], steps: int) -> Tabular:
    learner = kind({STATE: logits})
    actions = [random.Random(0).choice(list(rewards)) for _ in range(2)] + list(rewards) * (steps // 2)
    replay(learner, bandit_steps(STATE, rewards, actions))
    return learner


def test_pizza_and_cookies_converge_to_the_softmax_of_their_rewards() -> None:
    rewards: dict[Any, float] = {"pizza": 10, "cookies": 11}
    policy = bandit(TabularACTDE, rewards, {"pizza": 0, "cookies": 0}, 10).policy(STATE)
    assert {action: f"{p:.2f}" for action, p in policy.items()} == {"pizza": "0.27", "cookies": "0.73"}
    policy = bandit(TabularPPO, rewards, {"pizza": 0, "cookies": 0}, 200).policy(STATE)
    assert policy["cookies"] > 1 - 1e-9


def test_wireheading_adds_its_reward_to_the_initial_logits() -> None:
    """The rule gives pizza e^-90 / 99; the post's .02% corresponds to a difference of 4."""
    start: dict[Any, float] = {"pizza": math.log(0.01), "wirehead": math.log(0.99)}
    learner = bandit(TabularACTDE, {"pizza": 10, "wirehead": 100}, start, 10)
    assert learner.policy(STATE)["pizza"] == pytest.approx(math.exp(-90) / 99, rel=1e-6)
    learner = bandit(TabularACTDE, {"pizza": 10, "wirehead": 14}, start, 10)
    assert f"{learner.policy(STATE)['pizza']:.2%}" == "0.02%"


def fractions(low: int, high: int) -> st.SearchStrategy[Fraction]:
    return st.builds(Fraction, st.integers(low, high), st.integers(1, 7))


STEP = st.builds(Fraction, st.integers(1, 7), st.just(7))


@st.composite
def mdp_history(draw: st.DrawFn) -> tuple[dict[Any, dict[Any, Any]], list[Transition]]:
    """Draw initial logits and arbitrary transitions, which need not come from a fixed MDP."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    logits: dict[Any, dict[Any, Any]] = {s: {a: draw(fractions(-5, 5)) for a in range(n)} for s, n in enumerate(sizes)}
    steps = []
    for _ in range(draw(st.integers(0, 12))):
        state = draw(st.integers(0, len(sizes) - 1))
        step = Transition(
            state=state,
            action=draw(st.integers(0, sizes[state] - 1)),
            reward=draw(fractions(-10, 10)),  # type: ignore[arg-type]
            next_state=draw(st.none() | st.integers(0, len(sizes) - 1)),
            discount=draw(STEP),  # type: ignore[arg-type]
        )
        steps.append(step)
    return logits, steps


some = settings(max_examples=60, deadline=None)


@some
@given(mdp_history(), STEP, STEP, fractions(-3, 3), fractions(-3, 3))
def test_the_invariant_of_actde_holds_exactly(
    history: tuple[dict[Any, dict[Any, Any]], list[Transition]], alpha: Any, b: Any, value: Any, q_value: Any
) -> None:
    logits, steps = history
    learner = TabularACTDE(logits, alpha=alpha, b=b, value=value, q_value=q_value)
    for step in steps:
        learner.learn(step)
        for state, row in logits.items():
            for action, start in row.items():
                moved = learner.logits[state][action] - start
                assert moved == b / alpha * (learner.q_values[state][action] - q_value)


@some
@given(mdp_history(), STEP, STEP, fractions(-3, 3))
def test_the_invariant_of_ppo_holds_exactly(
    history: tuple[dict[Any, dict[Any, Any]], list[Transition]], alpha: Any, b: Any, value: Any
) -> None:
    logits, steps = history
    learner = TabularPPO(logits, alpha=alpha, b=b, value=value)
    for step in steps:
        learner.learn(step)
        for state, row in logits.items():
            moved = sum(learner.logits[state].values()) - sum(row.values())
            assert moved == b / alpha * (learner.values[state] - value)


@some
@given(mdp_history(), STEP, STEP, st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(9, 10)]))
def test_bounded_rewards_give_actde_bounded_logits(
    history: tuple[dict[Any, dict[Any, Any]], list[Transition]], alpha: Any, b: Any, gamma: Any
) -> None:
    logits, steps = history
    learner = TabularACTDE(logits, alpha=alpha, b=b)
    bound = b / alpha * max((abs(step.reward) for step in steps), default=0) / (1 - gamma)
    for step in steps:
        learner.learn(
            Transition(
                state=step.state,
                action=step.action,
                reward=step.reward,
                next_state=step.next_state,
                discount=gamma,
            )
        )
    for state, row in logits.items():
        assert all(abs(learner.logits[state][action] - start) <= bound for action, start in row.items())


def test_logits_of_ppo_are_unbounded_and_those_of_actde_bounded_in_a_sequential_case() -> None:
    """A ring of two states; in each, one action earns 1 and the other 0, and both are tried alternately."""
    steps = [
        Transition(state=s, action=a, reward=float(a), next_state=1 - s, discount=0.5)
        for _ in range(300)
        for a in (0, 1)
        for s in (0, 1)
    ]
    start: dict[Any, dict[Any, float]] = {0: {0: 0.0, 1: 0.0}, 1: {0: 0.0, 1: 0.0}}
    ppo, actde = TabularPPO(start, alpha=0.5), TabularACTDE(start, alpha=0.5)
    replay(ppo, steps)
    replay(actde, steps)
    assert all(ppo.logits[s][1] - ppo.logits[s][0] > 100 for s in (0, 1))
    assert all(abs(logit) <= 4 for row in actde.logits.values() for logit in row.values())


@pytest.mark.parametrize(("alpha", "b"), [(0.5, 1.0), (1.0, 0.25), (0.1, 0.3)])
def test_alpha_over_b_is_the_temperature(alpha: float, b: float) -> None:
    learner = TabularACTDE(EVEN, alpha=alpha, b=b)
    replay(learner, bandit_steps(STATE, REWARDS, HISTORY * 200))
    wanted = 1 / (1 + math.exp(-(b / alpha) * 0.5))
    assert learner.policy(STATE)["wedding"] == pytest.approx(wanted)


def test_bootstraps_from_v_of_the_next_state_unless_the_episode_is_over() -> None:
    for kind in (TabularPPO, TabularACTDE):
        for follows, wanted in ((1, 3 + 0.5 * 2), (None, 3.0)):
            learner = kind({0: {0: 0.0}, 1: {0: 0.0}}, value=2, q_value=2)
            error = learner.learn(Transition(state=0, action=0, reward=3.0, next_state=follows, discount=0.5))
            assert error == wanted - 2
            assert learner.q_values[0][0] == learner.values[0] == wanted


def test_samples_follow_the_policy_and_the_seed() -> None:
    learner = TabularPPO({0: {"a": math.log(0.8), "b": math.log(0.2)}})
    rng = random.Random(1)
    found = [learner.sample(0, rng) for _ in range(2000)]
    assert found.count("a") / 2000 == pytest.approx(0.8, abs=0.03)
    rng = random.Random(1)
    assert found[:20] == [learner.sample(0, rng) for _ in range(20)]


@pytest.mark.parametrize(("name", "bad"), [("alpha", 0), ("alpha", 1.5), ("b", 0), ("b", math.nan)])
def test_step_sizes_are_checked(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {bad}"):
        TabularPPO(EVEN, **{name: bad})


def test_a_policy_with_huge_logits_is_a_policy() -> None:
    policy = TabularPPO({0: {"a": 1e4, "b": -1e4}}).policy(0)
    assert policy == {"a": 1.0, "b": 0.0}
