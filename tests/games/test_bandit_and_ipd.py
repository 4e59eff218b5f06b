"""The bandit and the prisoner's dilemma, against the numbers of the post."""

from __future__ import annotations

import math

import pytest

from games import GameError, resolve
from games.bandit import CASES, Bandit
from games.ipd import ACTIONS, PAYOFFS, PrisonersDilemma

C, D = ACTIONS


@pytest.mark.parametrize(
    ("case", "rewards", "policy"),
    [
        ("wedding", {" wedding": 1.0, " party": 0.5}, {" wedding": 0.5, " party": 0.5}),
        ("pizza", {" pizza": 10.0, " cookies": 11.0}, {" pizza": 0.5, " cookies": 0.5}),
        ("wireheading", {" pizza": 10.0, " wirehead": 100.0}, {" pizza": 0.01, " wirehead": 0.99}),
    ],
)
def test_bandit_cases_match_the_post(case: str, rewards: dict[str, float], policy: dict[str, float]) -> None:
    env = Bandit(case=case)
    text, info = env.reset(seed=0)
    assert text == CASES[case][0]
    assert info["admissible_commands"] == sorted(rewards)
    assert info["initial_policy"] == policy
    assert info["max_score"] == max(rewards.values())
    for arm, reward in rewards.items():
        env.reset()
        assert env.step(arm)[1:4] == (reward, True, False)
        env.reset()
        step = env.step(arm.strip())
        assert step[1] == reward
        assert step[4]["won"] is (reward == max(rewards.values()))


def test_default_prompt_is_we_had_a() -> None:
    assert Bandit().reset()[0] + " wedding" == "We had a wedding"


def test_unknown_word_earns_the_smallest_reward() -> None:
    env = Bandit(arms=(" a", " b", " c"), rewards=(-1, 3, 2))
    env.reset()
    assert env.step("d")[1:4] == (-1.0, True, False)
    assert env.policy == pytest.approx((1 / 3,) * 3)
    assert env.vocabulary == ("We", "had", "a", "b", "c")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("case=weding", "did you mean 'wedding'"),
        ("arms=a", "at least two different arms"),
        ("arms=a,a&rewards=1,2", "at least two different arms"),
        ("arms=a,b,c", "3 arms need 3 rewards, got 2"),
        ("rewards=1,x", "rewards=1,x: expected a number"),
        ("rewards=1,nan", "rewards=1,nan: expected a number"),
        ("policy=0.5,0.6", "sum to 1"),
        ("policy=1.5,-0.5", "expected a number from 0 to 1"),
        ("prompt=", "expected a prompt"),
        ("reward=1,2", "did you mean 'rewards'"),
    ],
)
def test_bandit_errors_are_one_line(query: str, message: str) -> None:
    with pytest.raises(GameError, match=message) as error:
        resolve(f"bandit?{query}")[0].make()
    assert "\n" not in str(error.value)


def test_sequence_ccddc_earns_the_four_payoffs_of_the_post() -> None:
    env = PrisonersDilemma(start=C)
    assert env.reset(seed=0)[0] == C
    rewards = [env.step(action)[1] for action in (C, D, D, C)]
    assert rewards == [0.5, 2.0, -0.738613, -1.76139]


@pytest.mark.parametrize(
    ("start", "then", "total"),
    [(C, [C], 1.0), (C, [D], 1.261), (C, [D, C], 1.492), (D, [D], -1.477), (D, [C], -1.261), (D, [C, D], -1.015)],
)
def test_discounted_sums_match_the_post(start: str, then: list[str], total: float) -> None:
    env = PrisonersDilemma(start=start)
    env.reset()
    rewards = [env.step(then[t % len(then)])[1] for t in range(60)]
    assert sum(reward * env.discount**t for t, reward in enumerate(rewards)) == pytest.approx(total, abs=1e-3)


def test_post_matrix_sums_to_zero_and_has_two_discount_thresholds() -> None:
    (cc, cd), (dc, dd) = PAYOFFS["post"]
    assert cc + cd + dc + dd == pytest.approx(0, abs=1e-5)
    from_cooperate = (dc - cc) / (dc - dd)  # cc/(1-g) = dc + g dd/(1-g)
    from_defect = (dd - cd) / (cc - cd)  # dd/(1-g) = cd + g cc/(1-g)
    assert from_cooperate == pytest.approx(0.5477, abs=1e-4)
    assert from_defect == pytest.approx(0.4523, abs=1e-4)


def test_first_action_is_a_fair_coin_from_the_seed() -> None:
    env = PrisonersDilemma()
    starts = [env.reset(seed=seed)[0] for seed in range(1000)]
    assert starts == [env.reset(seed=seed)[0] for seed in range(1000)]
    assert abs(starts.count(C) - 500) < 4 * math.sqrt(250)


def test_truncated_game_continues_from_its_last_action() -> None:
    env = PrisonersDilemma(max_turns=2)
    env.reset(options={"start": C})
    assert "continuation" not in env.step(C)[4]
    text, _, terminated, truncated, info = env.step(D)
    assert (text, terminated, truncated) == ("", False, True)
    assert info["continuation"] == {"start": D}
    assert env.reset(options=info["continuation"])[0] == D


def test_unknown_word_changes_nothing_and_earns_the_smallest_payoff() -> None:
    env = PrisonersDilemma(start=C)
    env.reset()
    assert env.step("confess")[1] == -1.76139
    assert env.step(f" {D} ")[1] == 2.0


def test_info_names_the_strategy_of_the_last_two_actions() -> None:
    env = PrisonersDilemma(start=C)
    assert "strategy" not in env.reset()[1]
    strategies = [env.step(word)[4].get("strategy") for word in (C, D, D, C, "confess", C)]
    assert strategies == ["cooperate", "alternate", "defect", "alternate", None, "cooperate"]
    assert set(strategies) - {None} == set(env.strategies)


def test_matrix_can_be_set_by_numbers() -> None:
    env = resolve("ipd?matrix=1,2,3,4&start=defect")[0].make()
    env.reset()
    assert [env.step(action)[1] for action in (C, C, D, D)] == [2.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("payoff=psot", "did you mean 'post'"),
        ("matrix=1,2", "four numbers"),
        ("start=maybe", "expected one of coin, cooperate, defect"),
        ("discount=2", "from 0 to 1"),
    ],
)
def test_ipd_errors_are_one_line(query: str, message: str) -> None:
    with pytest.raises(GameError, match=message):
        resolve(f"ipd?{query}")[0].make()
