"""Decisions of the language-model agent: exact probabilities, and randomness from the seed alone."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import games
from agents.language_model.agent import LanguageModelAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent, AgentError, Turn
from agents.text.word_tokenizer import word_tokenizer
from tests.helpers.models import KINDS, Kind, agent, bigram_model, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec, script

COMMANDS = ("go north", "go south", "take red key", "take red lamp", "take blue key", "drop key 1")
ROOMS = script(*(Scene(f"room {n}", dict.fromkeys(COMMANDS, 1.0)) for n in range(3)))


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


def turn(commands: Sequence[str], episode: int = 0, text: str = "room") -> Turn:
    info = {"admissible_commands": sorted(commands)}
    return Turn(episode=episode, game="test", observation=text, info=info, reward=0.0, first=True)


def episodes(player: Agent, count: int, *, parallel: int = 4, spec: ScriptSpec = ROOMS) -> list[Episode]:
    with EpisodeRunner([spec], seed=0, parallel=parallel) as runner:
        return sorted(runner.play(player, count), key=lambda episode: episode.index)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_the_models_conditioned_on_the_commands(kind: Kind) -> None:
    """The reference is a product of softmaxes, each over the next tokens of all commands with the same prefix."""
    model = tiny_model(kind)
    (decision,) = agent(model).act([turn(COMMANDS)])
    stream = ids("room\n>")
    encoded = {command: ids(command + "\n") for command in COMMANDS}
    for command, tokens in encoded.items():
        logprob = 0.0
        for depth, token in enumerate(tokens):
            with torch.no_grad():
                logits = model.lm(input_ids=torch.tensor([[*stream, *tokens[:depth]]])).logits[0, -1]
            rest = sorted({other[depth] for other in encoded.values() if other[:depth] == tokens[:depth]})
            logprob += float(logits[rest].log_softmax(-1)[rest.index(token)])
        assert decision.probabilities[command] == pytest.approx(math.exp(logprob), abs=1e-5)
    assert sum(decision.probabilities.values()) == pytest.approx(1.0)
    p = np.array(list(decision.probabilities.values()))
    assert decision.entropy == pytest.approx(-(p * np.log(p)).sum())
    assert set(decision.q_values) == set(COMMANDS) and decision.value is not None


@pytest.mark.parametrize("twice", [["go north"], ["drop key 1", "drop key 1"], ["take red key", "take red lamp"]])
def test_a_command_that_is_listed_twice_has_its_whole_probability(twice: list[str]) -> None:
    (once,), (repeated,) = (agent(tiny_model()).act([turn(listed)]) for listed in (COMMANDS, (*COMMANDS, *twice)))
    assert repeated.probabilities == pytest.approx(once.probabilities, abs=1e-6)
    assert repeated.command == once.command and repeated.entropy == pytest.approx(once.entropy, abs=1e-5)


def test_commands_are_sampled_by_their_probabilities() -> None:
    logits = torch.zeros(len(tokenizer()), len(tokenizer()))
    north = ids("north")[0]
    logits[ids("go")[0], north] = math.log(4.0)
    player = agent(bigram_model(logits), record=False)
    turns = [turn(["go north", "go south"], episode=n) for n in range(600)]
    decisions = player.act(turns)
    assert decisions[0].probabilities == pytest.approx({"go north": 0.8, "go south": 0.2})
    share = Counter(decision.command for decision in decisions)["go north"] / 600
    assert abs(share - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 600)


def test_greedy_takes_the_most_probable_command() -> None:
    for episode in episodes(agent(tiny_model(), greedy=True), 3):
        for step in episode.steps:
            assert step.decision.command == max(
                step.decision.probabilities, key=step.decision.probabilities.__getitem__
            )


def test_the_number_of_live_episodes_changes_nothing() -> None:
    model = tiny_model()

    def played(parallel: int, seed: int = 0) -> list[list[str]]:
        of_agent = episodes(agent(model, seed=seed), 7, parallel=parallel)
        return [[step.decision.command for step in episode.steps] for episode in of_agent]

    assert played(1) == played(7) == played(3)
    assert played(1) != played(1, seed=1)


def test_episodes_differ_from_each_other() -> None:
    different = {tuple(step.decision.command for step in e.steps) for e in episodes(agent(tiny_model()), 8)}
    assert len(different) > 4


def test_a_single_command_is_no_choice() -> None:
    player = agent(tiny_model())
    decision, other = player.act([turn(["go north"], 0), turn(["go north", "go south"], 1)])
    assert decision.command == "go north" and decision.probabilities == {"go north": 1.0}
    assert decision.value is None and decision.q_values == {} and decision.entropy == 0.0
    assert other.value is not None
    (single,) = agent(tiny_model()).act([turn(["go north"])])
    assert single == decision


def test_the_first_of_commands_with_equal_tokens_has_their_probability() -> None:
    commands = ["go north", "take xyzzy", "take plugh"]  # unknown words are one token
    (decision,) = agent(tiny_model()).act([turn(commands)])
    assert decision.probabilities["take plugh"] > 0 and decision.probabilities["take xyzzy"] == 0.0
    assert sum(decision.probabilities.values()) == pytest.approx(1.0)
    (forced,) = agent(tiny_model()).act([turn(["take xyzzy", "take plugh"])])
    assert forced.probabilities == {"take plugh": 1.0, "take xyzzy": 0.0}


def test_the_cache_has_at_most_one_row_per_live_episode() -> None:
    player = agent(tiny_model())
    episodes(player, 9, parallel=3)
    assert len(player.reader._cache.lengths) <= 3 and not player._live
    assert len(player.take_segments()) == 9 and player.take_segments() == []


def test_only_a_recording_agent_keeps_segments() -> None:
    player = agent(tiny_model(), record=False)
    episodes(player, 2)
    assert player.take_segments() == []


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_does_not_change(training: bool) -> None:
    model = tiny_model().train(training)
    episodes(agent(model), 1)
    assert model.training == training


def bandit_agent(game: str) -> tuple[LanguageModelAgent, games.GameSpec]:
    spec = games.resolve(game)[0]
    words = word_tokenizer(spec.make().unwrapped.vocabulary, specials=False)  # type: ignore[attr-defined]
    return LanguageModelAgent(bigram_model(torch.zeros(len(words), len(words))), words), spec


def test_an_arm_that_is_a_prefix_of_another_is_an_error() -> None:
    player, spec = bandit_agent("bandit?arms=red,red wine&rewards=1,2")
    with EpisodeRunner([spec], seed=0) as runner, pytest.raises(AgentError, match="prefix"):
        list(runner.play(player, 1))


def test_a_game_without_any_text_is_an_error() -> None:
    silent = Turn(
        episode=0,
        game="silent",
        observation="",
        info={"admissible_commands": ["go north", "go south"]},
        reward=0.0,
        first=True,
        prompt="",
    )
    with pytest.raises(AgentError, match="at least one token"):
        agent(tiny_model()).act([silent])
