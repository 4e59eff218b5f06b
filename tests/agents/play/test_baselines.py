"""The agent protocol, and the random, human and walkthrough agents."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from agents import Agent, AgentError, Turn, make_agent
from agents.play.baselines import HumanAgent, RandomAgent, WalkthroughAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from tests.helpers.fakes import CorridorSpec

SPECS = [CorridorSpec("short", 2), CorridorSpec("long", 5)]


def say_forward(turn: Turn) -> str:
    return "forward"


MAKERS: dict[str, Callable[[], Agent]] = {
    "random": lambda: make_agent("random", seed=3),
    "human": lambda: make_agent("human", seed=3, ask=say_forward),
    "walkthrough": lambda: make_agent("walkthrough", seed=3),
}


def turn(episode: int, *commands: str, first: bool = True, **info: Any) -> Turn:
    return Turn(
        episode=episode,
        game="corridor",
        observation="You stand.",
        info={"admissible_commands": sorted(commands), **info},
        reward=0.0,
        first=first,
    )


def played(agent: Agent, **settings: Any) -> list[Episode]:
    with EpisodeRunner(SPECS, seed=5, **settings) as runner:
        return sorted(runner.play(agent, 6), key=lambda episode: episode.index)


@pytest.mark.parametrize("name", MAKERS)
def test_the_contract_of_every_agent(name: str) -> None:
    agent = MAKERS[name]()
    assert isinstance(agent, Agent) and agent.name == name
    episodes = played(agent, parallel=4)
    assert len(episodes) == 6 and agent.act([]) == []
    for step in (step for episode in episodes for step in episode.steps):
        decision = step.decision
        assert decision.command in step.admissible_commands
        assert not decision.probabilities or set(decision.probabilities) == set(step.admissible_commands)
        assert not decision.probabilities or math.isclose(sum(decision.probabilities.values()), 1)
    assert played(MAKERS[name](), parallel=1) == episodes, "the same seed plays the same episodes"


@pytest.mark.parametrize("listed", ["aab", "abccc", "aaaa"])
def test_random_sums_the_probabilities_of_a_command_that_is_listed_twice(listed: str) -> None:
    (decision,) = RandomAgent(seed=1).act([turn(0, *listed)])
    shares = {name: listed.count(name) / len(listed) for name in listed}
    assert decision.probabilities == pytest.approx(shares)
    assert decision.entropy == pytest.approx(-sum(p * math.log(p) for p in shares.values()))


def test_random_samples_uniformly_and_differently_in_every_episode() -> None:
    agent = RandomAgent(seed=1)
    drawn = [agent.act([turn(episode, "a", "b", "c")])[0].command for episode in range(600)]
    assert all(150 < drawn.count(command) < 250 for command in "abc")
    [decision] = agent.act([turn(1000, "a", "b")])
    assert decision.entropy == pytest.approx(math.log(2))


def test_human_is_asked_about_every_turn_in_order() -> None:
    seen: list[int] = []

    def ask(turn: Turn) -> str:
        seen.append(turn.episode)
        return f"answer {turn.episode}"

    decisions = HumanAgent(ask).act([turn(4, "a"), turn(2, "a")])
    assert seen == [4, 2] and [decision.command for decision in decisions] == ["answer 4", "answer 2"]


def test_walkthrough_wins() -> None:
    assert all(episode.won for episode in played(WalkthroughAgent()))


def test_walkthrough_follows_policy_commands_without_a_solution() -> None:
    agent = WalkthroughAgent()
    first = turn(0, "a", "b", policy_commands=["b", "a"])
    assert agent.act([first])[0].command == "b"


def test_walkthrough_without_commands_is_an_error() -> None:
    agent = WalkthroughAgent()
    with pytest.raises(AgentError, match="corridor has no walkthrough"):
        agent.act([turn(0, "a")])
    solved: dict[str, Any] = {"extra.walkthrough": ["a"]}
    agent.act([turn(1, "a", **solved)])
    with pytest.raises(AgentError, match="has ended, but the game has not"):
        agent.act([turn(1, "a", first=False)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("randm", "unknown agent 'randm'.*did you mean 'random'"),
        (__file__, "test_baselines.py is a file and no agent: expected random, .* or the folder of a run"),
        ("no/such/folder", "expected random, human.* or the folder of a run$"),
        ("human", "the human agent plays in the terminal only"),
    ],
)
def test_an_unknown_agent_is_one_clear_line(name: str, message: str) -> None:
    with pytest.raises(AgentError, match=message) as caught:
        make_agent(name, seed=1)
    assert "\n" not in str(caught.value)
