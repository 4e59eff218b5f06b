"""Evaluation: means by hand, and confidence intervals."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

import games
from agents.play.baselines import RandomAgent, WalkthroughAgent
from agents.play.episode import wins
from agents.play.evaluate import by_level, estimate, evaluate, summarize
from agents.play.metrics import episode_metrics
from agents.play.runner import EpisodeRunner
from tests.helpers.fakes import Corridor, CorridorSpec

SPECS = [CorridorSpec("short", 2), CorridorSpec("long", 4)]


def test_the_means_by_hand() -> None:
    found = evaluate(WalkthroughAgent(), SPECS, game="corridors", episodes=4, seed=1, max_turns=3)
    assert (found.agent, found.game, found.episodes, found.errors) == ("walkthrough", "corridors", 4, 0)
    assert found.success_rate is not None
    assert found.success_rate.value == 0.5
    assert found.normalized_score is not None
    assert found.normalized_score.value == (1 + 3 / 4) / 2
    assert found.steps.value == 2.5
    assert found.steps_to_win is not None
    assert (found.steps_to_win.value, found.steps_to_win.low) == (2, None), "no spread, so no interval"
    assert found.entropy is None


def test_the_entropy_of_the_random_agent() -> None:
    found = evaluate(RandomAgent(seed=1), SPECS, game="corridors", episodes=6, seed=1)
    assert found.entropy is not None
    assert found.entropy.value == pytest.approx(math.log(2))


def test_agents_play_the_same_games_and_seeds() -> None:
    def met(agent: RandomAgent | WalkthroughAgent) -> set[tuple[str, int]]:
        with EpisodeRunner(SPECS, seed=9) as runner:
            return {(episode.game, episode.seed) for episode in runner.play(agent, 8)}

    assert met(RandomAgent(seed=1)) == met(WalkthroughAgent())


@pytest.mark.parametrize(("episodes", "lengths"), [(2, [1, 4]), (4, [1, 2, 4, 5]), (6, [1, 2, 3, 4, 5, 6])])
def test_few_episodes_play_evenly_spaced_games(episodes: int, lengths: list[int]) -> None:
    specs, played = [CorridorSpec(f"of {length}", length) for length in range(1, 7)], list[str]()
    evaluate(
        WalkthroughAgent(),
        specs,
        game="corridors",
        episodes=episodes,
        seed=1,
        on_episode=lambda episode: played.append(episode.game),
    )
    assert sorted(played) == [f"of {length}" for length in lengths]


def test_intervals_contain_the_mean_and_are_reproducible() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200).tolist()
    found = estimate(values, seed=5)
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    half = 1.96 * np.std(values) / math.sqrt(200)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1), "as the central limit theorem has it"
    assert estimate(values, seed=5) == found


@pytest.mark.parametrize(("wins", "trials"), [(0, 20), (20, 20), (1, 1), (0, 3)])
def test_proportions_of_0_and_1_have_the_interval_of_clopper_and_pearson(wins: int, trials: int) -> None:
    found = estimate([float(wins > 0)] * trials, unit=True)
    exact = binomtest(wins, trials).proportion_ci(method="exact")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_without_spread_there_is_no_interval() -> None:
    found = estimate([7.0, 7.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (7.0, None, None)
    assert estimate([]) is None


def test_the_fields_of_the_json() -> None:
    found = evaluate(RandomAgent(seed=1), SPECS, game="corridors", episodes=4, seed=1).to_json()
    fields = "agent game episodes errors success_rate normalized_score steps steps_to_win entropy bonus_share"
    assert list(json.loads(json.dumps(found, allow_nan=False))) == [*fields.split(), "texts", "trained_on"]
    assert list(found["steps"]) == ["value", "low", "high"]


@pytest.mark.parametrize(
    ("reported", "rate"), [([None] * 4, None), ([False] * 4, 0.0), ([None, True, None, False], 0.25)]
)
def test_success_needs_a_game_that_reports_it(reported: list[bool | None], rate: float | None) -> None:
    with EpisodeRunner(SPECS, seed=1) as runner:
        played = [replace(e, won=won) for e, won in zip(runner.play(RandomAgent(seed=1), 4), reported, strict=True)]
    found = summarize(played, agent="random", game="corridors").success_rate
    assert (None if found is None else found.value) == rate


def test_episodes_without_a_maximum_score_have_a_mean_reward() -> None:
    with EpisodeRunner(SPECS, seed=1) as runner:
        first, *others = runner.play(WalkthroughAgent(), 4)
    assert summarize([first, *others], agent="walkthrough", game="corridors").reward is None
    unbounded = [first, *(replace(episode, max_score=None) for episode in others)]
    found = summarize(unbounded, agent="walkthrough", game="corridors")
    assert found.reward is not None and found.reward.low is not None
    assert found.reward.value == pytest.approx(np.mean([len(episode.steps) for episode in others]))
    assert found.to_json()["reward"]["value"] == found.reward.value


@pytest.mark.parametrize(("broken", "trap", "errors"), [((), -1, 0), ((2, 5), -1, 2), ((), 1, 4), ((4,), 1, 4)])
def test_failed_episodes_are_counted(broken: tuple[int, ...], trap: int, errors: int) -> None:
    Corridor.resets = 0
    specs = [CorridorSpec("sound", 2, broken=broken), CorridorSpec("trapped", 2, trap=trap, broken=broken)]
    found = evaluate(WalkthroughAgent(), specs, game="corridors", episodes=8, seed=1, parallel=2)
    assert (found.errors, found.episodes) == (errors, 8)


@pytest.mark.parametrize(("episodes", "reason"), [(1, "1 of 1"), (2, "2 of 2"), (30, "10 episodes in a row")])
def test_an_evaluation_that_only_fails_is_an_error(episodes: int, reason: str) -> None:
    fails = pytest.raises(games.FatalGameError, match=rf"\A{reason}.*: trapped: the floor gives way; correct the game")
    with fails:
        evaluate(WalkthroughAgent(), [CorridorSpec("trapped", 2, trap=1)], game="g", episodes=episodes, seed=1)


def test_the_share_of_a_bonus_command_by_hand() -> None:
    found = evaluate(WalkthroughAgent(), SPECS, game="corridors", episodes=4, seed=1, bonus_command="forward")
    assert found.bonus_share is not None and found.bonus_share.value == 1.0
    with EpisodeRunner(SPECS, seed=1) as runner:
        episodes = sorted(runner.play(RandomAgent(seed=1), 6), key=lambda episode: episode.index)
    waits = [[step.decision.command == "wait" for step in episode.steps] for episode in episodes]
    shares = [sum(turns) / len(turns) for turns in waits]
    found = summarize(episodes, agent="random", game="corridors", bonus_command="wait")
    assert found.bonus_share is not None
    assert found.bonus_share.value == pytest.approx(sum(shares) / len(shares))
    assert episode_metrics(episodes, "wait")["bonus_share"] == pytest.approx(found.bonus_share.value)
    assert "bonus_share" not in episode_metrics(episodes)


def test_no_episodes_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        summarize([], agent="random", game="none")


def test_an_episode_without_a_win_counts_if_its_game_reports_wins() -> None:
    with EpisodeRunner([CorridorSpec("a", 2)], seed=0) as runner:
        (episode,) = runner.play(WalkthroughAgent(), 1)
    told = [replace(episode, game=game, won=won) for game, won in (("a?seed=1", True), ("a?seed=2", None), ("b", None))]
    assert wins(told) == [True, False]
    assert wins(told[1:]) == []
    assert wins(told[1:], told) == [False]
    success = summarize(told, agent="x", game="a + b").success_rate
    assert success is not None and success.value == 0.5


@pytest.mark.parametrize("game", ["ipd", "completion?choices= fine, awful"])
def test_a_game_that_cannot_be_won_has_a_return_instead_of_a_success(game: str) -> None:
    found = evaluate(RandomAgent(seed=0), games.resolve(game), game=game, episodes=3, seed=0, max_turns=5)
    assert found.success_rate is None
    if found.normalized_score is None:
        assert found.reward is not None


def test_each_level_has_its_own_results() -> None:
    with EpisodeRunner([CorridorSpec("a", 2)], seed=0) as runner:
        (episode,) = runner.play(WalkthroughAgent(), 1)
    outcomes = [("easy", True), ("hard", False), ("easy", True), ("hard", True), ("free", False)]
    told = [replace(episode, game=game, won=won) for game, won in outcomes]
    levels = {"easy": 1, "hard": 2, "free": None}
    found = by_level(told, levels, told, seed=0)
    assert [(row.level, row.episodes, row.success_rate and row.success_rate.value) for row in found] == [
        (1, 2, 1.0),
        (2, 2, 0.5),
    ]
    assert by_level(told, levels | {"hard": 1}, told, seed=0) == (), "one level is what the whole evaluation says"
