"""Preferences are sampled in order: two completions of each prompt, the better one first, without ties."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import games
from agents.play.baselines import RandomAgent
from agents.protocol import AgentError, Decision, EpisodeEnd, Turn
from agents.training.preference_sampling import PROMPTS, sample_preferences
from games.completion.prompts import load_prompts
from tests.helpers.preferences import PROMPTS as OPENINGS

GAME = "completion?reward=length"


class Writer:
    """Writes one to three words. Their number depends on the index of the episode."""

    name = "writer"
    writes_freely = True

    def __init__(self, words: int = 3) -> None:
        self.words = words
        self.turns: list[Turn] = []

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        self.turns += turns
        return [Decision(command=" word" * self.length(turn.episode)) for turn in turns]

    def length(self, episode: int) -> int:
        return 1 + int(np.random.default_rng(episode).integers(self.words))

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...


def test_the_judge_orders_two_completions_of_each_prompt() -> None:
    writer = Writer()
    sampled = sample_preferences(writer, GAME, "length", pairs=40, seed=3)
    assert len(sampled.preferences) == 40
    assert all(len(p.chosen) > len(p.rejected) for p in sampled.preferences)
    prompts = {turn.episode: turn.observation for turn in writer.turns}
    assert all(prompts[episode] == prompts[episode + 1] for episode in range(0, len(prompts), 2))
    untied = [e for e in range(0, len(prompts), 2) if writer.length(e) != writer.length(e + 1)][:40]
    assert [p.prompt for p in sampled.preferences] == [prompts[episode] for episode in untied]
    assert sampled.ties == untied[-1] // 2 + 1 - 40, "ties before the last preference"
    assert set(prompts.values()) <= set(load_prompts("train"))


def test_fewer_pairs_are_the_first_of_more_pairs() -> None:
    more, fewer = (sample_preferences(Writer(), GAME, "length", pairs=n, seed=3) for n in (2 * PROMPTS, 5))
    assert more.preferences[:5] == fewer.preferences
    assert sample_preferences(Writer(), GAME, "length", pairs=5, seed=4).preferences != fewer.preferences


def test_the_judge_and_not_the_game_decides() -> None:
    sampled = sample_preferences(Writer(), GAME, "length*-1", pairs=5, seed=0)
    assert all(len(p.chosen) < len(p.rejected) for p in sampled.preferences)


def test_any_agent_plays_a_game_with_choices(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in OPENINGS))
    game = f"completion?prompts={path}&choices= red, blue"
    sampled = sample_preferences(RandomAgent(seed=0), game, "letter:b", pairs=4, seed=0)
    assert [(p.chosen.strip(), p.rejected.strip()) for p in sampled.preferences] == [("blue", "red")] * 4


def test_too_many_ties_are_an_error() -> None:
    with pytest.raises(AgentError, match="length told 0 of 256 pairs of completions apart"):
        sample_preferences(Writer(words=1), GAME, "length", pairs=1, seed=0)


@pytest.mark.parametrize(
    ("game", "judge", "error", "says"),
    [
        ("bandit", "length", AgentError, "preferences need a completion game, got bandit"),
        (f"{GAME} + bandit", "length", AgentError, "preferences need a completion game"),
        (GAME, "lenght", games.GameError, "no reward is called 'lenght'"),
        (GAME, "rm:nowhere", games.GameError, "reward rm:nowhere: no such folder"),
    ],
)
def test_mistakes_are_found_before_sampling(game: str, judge: str, error: type[ValueError], says: str) -> None:
    writer = Writer()
    with pytest.raises(error, match=says):
        sample_preferences(writer, game, judge, pairs=1, seed=0)
    assert not writer.turns
