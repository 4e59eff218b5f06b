"""Streams that the agent records: their tokens, log pi, v and q of their choices, and cuts at the context length."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from tests.helpers.models import KINDS, Kind, agent, assert_close, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec, script


class CountingTokenizer:
    """A tokenizer that records every text that it encodes."""

    def __init__(self) -> None:
        self.inner, self.texts = tokenizer(), list[str]()

    def encode(self, text: str, **kwargs: Any) -> Any:
        self.texts.append(text)
        return self.inner.encode(text, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def encode(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


def tokens_of(episode: Episode) -> list[int]:
    texts = [text for step in episode.steps for text in (step.observation, "\n>", step.decision.command, "\n")]
    return [token for text in texts for token in encode(text)]


def scene(text: str, *commands: str) -> Scene:
    return Scene(text, {command: float(len(command)) for command in commands})


LONG = script(
    scene("you see a red key", "take red key", "take lamp", "go north"),
    scene("a room", "go north", "go south"),
    scene("a blue room 1 2 3", "go north"),  # forced
    scene("", "drop key", "drop lamp"),
    scene("red", "take red lamp", "take red key", "take blue key", "go south"),
    scene("you see a lamp", "go north"),  # forced
    over=False,
    end="a room",
)


def segments_of(player: LanguageModelAgent, spec: ScriptSpec, episodes: int = 1, parallel: int = 8) -> list[Segment]:
    with EpisodeRunner([spec], seed=0, parallel=parallel) as runner:
        list(runner.play(player, episodes))
    return player.take_segments()


def test_a_segment_is_the_joined_tokens_of_its_texts() -> None:
    for seed in range(4):
        player = agent(tiny_model(), seed=seed)
        with EpisodeRunner([LONG], seed=0) as runner:
            (episode,) = runner.play(player, 1)
        (segment,) = player.take_segments()
        ids = tokens_of(episode)
        assert segment.tokens.tolist() == ids[: len(segment.tokens)]
        for c in segment.choices:  # the token after a choice is the chosen one
            assert ids[c.position + 1] == c.alternatives[c.chosen]


def test_every_text_is_encoded_once() -> None:
    player = agent(tiny_model())
    player.stream_tokenizer.tokenizer = counting = CountingTokenizer()
    segments_of(player, LONG)
    observations = Counter(text for text in counting.texts if text.endswith(">"))
    assert observations == Counter(f"{scene.text}\n>" for scene in [*LONG.plays[0], Scene("a room", {})])
    commands = {command for scene in LONG.plays[0] for command in scene.rewards}
    turns = [f" {command}" for scene in LONG.plays[0] for command in scene.rewards]
    assert {text for text in counting.texts if text.startswith(" ")} == {f" {command}" for command in commands}
    before = len(counting.texts)
    assert before <= len(observations) + len(turns) + len(LONG.plays[0])
    segments_of(player, LONG)  # the tries of its commands are cached now
    assert len(counting.texts) == before + sum(observations.values())


def recomputed(player: LanguageModelAgent, segment: Segment) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi, v and q of each choice, from one plain pass over the segment."""
    model = player.model
    with torch.no_grad():
        hidden = model.hidden_states(torch.from_numpy(segment.tokens)[None], use_cache=False)[0]
        rows = []
        for c in segment.choices:
            read = model.evaluate_heads(hidden[c.position][None], torch.tensor([c.alternatives]))
            q = read.q_values if read.target_q_values is None else read.target_q_values
            assert q is not None
            rows.append((read.logprobs[0, c.chosen], read.values[0], q[0, c.chosen].min()))
    logprobs, values, q_values = zip(*rows, strict=True)
    return torch.stack(logprobs), torch.stack(values), torch.stack(q_values)


def check_recorded(player: LanguageModelAgent, segments: list[Segment]) -> None:
    for segment in segments:
        logprobs, values, q_values = recomputed(player, segment)
        assert_close(torch.tensor([c.logprob for c in segment.choices]), logprobs)
        assert_close(torch.tensor([c.value for c in segment.choices]), values)
        assert_close(torch.tensor([c.q_value for c in segment.choices]), q_values)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_numbers_equal_those_of_the_update(kind: Kind) -> None:
    player = agent(tiny_model(kind, q_heads=2, target_q=True))
    segments = segments_of(player, LONG, episodes=6, parallel=4)
    assert [segment.episode for segment in segments] == list(range(6))
    assert sum(len(segment.choices) for segment in segments) > 20
    check_recorded(player, segments)


def test_turns_rewards_and_discounts_of_a_real_episode() -> None:
    player = agent(tiny_model())
    with EpisodeRunner([LONG], seed=0) as runner:
        (episode,) = runner.play(player, 1)
    (segment,) = player.take_segments()
    last = {c.turn: c for c in segment.choices}
    rewards = [step.reward for step in episode.steps]
    assert set(last) == {0, 1, 3, 4}  # turns 2 and 5 had one command
    assert last[0].reward == rewards[0] and last[0].discount == 0.5
    assert last[1].reward == rewards[1] + 0.5 * rewards[2] and last[1].discount == 0.25
    assert last[4].reward == rewards[4] + 0.5 * rewards[5] and last[4].discount == 0.25
    ids = tokens_of(episode)
    with torch.no_grad():
        state = player.model.hidden_states(torch.tensor([[*ids, *encode("a room\n>")]]), use_cache=False)[:, -1]
        assert last[4].next_value == pytest.approx(player.model.heads.values(state).item(), abs=1e-5)


# -- cut at the context window -----------------------------------------------------------------------------

MARATHON = script(
    scene("you see 1 2 3", "go north", "go south"),
    *(scene(f"room {n}", "go north", "go south", "take key", "take lamp") for n in range(24)),
    over=False,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [None, 24])
def test_a_long_episode_is_cut_into_segments(kind: Kind, context: int | None) -> None:
    model = tiny_model(kind, positions=40)
    player = agent(model, context=context)
    limit = context or 40
    segments = segments_of(player, MARATHON, episodes=3, parallel=2)
    opening = encode("you see 1 2 3\n>")[: limit // 4]
    by_episode = [[segment for segment in segments if segment.episode == e] for e in range(3)]
    for pieces in by_episode:
        assert len(pieces) > 2
        turns = [c.turn for piece in pieces for c in piece.choices]
        assert turns == sorted(turns) and set(turns) == set(range(25))
        for piece in pieces:
            assert len(piece.tokens) <= limit
            assert piece.tokens[: len(opening)].tolist() == opening
            for now, after in itertools.pairwise(piece.choices):
                assert now.next_value == after.value
        for piece, following in itertools.pairwise(pieces):
            assert piece.choices[-1].next_value == following.choices[0].value
            assert piece.choices[-1].discount == 0.5  # a cut does not terminate
        assert pieces[-1].choices[-1].discount == 0.5
    check_recorded(player, segments)


def test_a_cut_encodes_no_text_again() -> None:
    player = agent(tiny_model(positions=40))
    player.stream_tokenizer.tokenizer = counting = CountingTokenizer()
    segments_of(player, MARATHON)
    observations = [text for text in counting.texts if text.endswith(">")]
    assert observations == [f"{scene.text}\n>" for scene in MARATHON.plays[0]] + ["you won\n>"]


def test_an_opening_longer_than_the_context_is_cut() -> None:
    spec = script(scene("you see a red key " * 20, "go north", "go south"), scene("room", "go north", "go south"))
    player = agent(tiny_model(positions=40))
    (segment,) = segments_of(player, spec)
    assert len(segment.tokens) <= 40 and len(segment.choices) == 2
    check_recorded(player, [segment])


def test_long_commands_in_a_short_context() -> None:
    long = " ".join(["take"] * 18)
    scenes = [scene(f"room {n}", f"{long} key", f"{long} lamp") for n in range(6)]
    player = agent(tiny_model(positions=32))
    segments = segments_of(player, script(*scenes, over=False))
    assert {c.turn for segment in segments for c in segment.choices} == set(range(6))
    assert max(len(segment.tokens) for segment in segments) <= 32
    check_recorded(player, segments)


def test_commands_longer_than_the_context_are_an_error() -> None:
    long = " ".join(["take"] * 40)
    player = agent(tiny_model(positions=32))
    with pytest.raises(AgentError, match="context"):
        segments_of(player, script(scene("room", f"{long} key", f"{long} lamp")))
