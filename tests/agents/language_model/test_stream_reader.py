"""Episodes whose common prefix is read once have the results of separate streams."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.language_model import stream_reader
from agents.language_model.agent import LanguageModelAgent, Mode
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, forward_trees
from agents.play.runner import EpisodeRunner
from tests.helpers.models import KINDS, Kind, agent, assert_close, tiny_model
from tests.helpers.scripts import Scene, ScriptSpec, script


def scene(text: str, *commands: str) -> Scene:
    return Scene(text, {command: float(len(command)) for command in commands})


SCENES = (
    scene("you see a red key", "take red key", "take red lamp", "go north"),
    scene("a room", "go north", "go south"),
    scene("a blue room 1 2 3", "go north"),  # forced
    scene("", "drop key", "drop lamp"),
    scene("you see a lamp", "take red lamp", "take lamp"),
)
OTHER = [scene("you see a red lamp", "go north", "go south"), scene("a room", "go north", "go south")]
GAMES = ScriptSpec(plays=[SCENES, OTHER], over=False, end="a red room")


def segments(
    player: LanguageModelAgent, *, episodes: int = 12, parallel: int = 4, spec: Any = GAMES, first: int = 0
) -> list[Segment]:
    with EpisodeRunner([spec], seed=0, parallel=parallel, first_episode=first) as runner:
        list(runner.play(player, episodes))
    return player.take_segments()


def assert_same(shared: list[Segment], separate: list[Segment], *, within: float = 1e-5) -> None:
    """Assert equal tokens and choices. The numbers of a choice, such as v, may differ by `within`."""
    assert len(shared) == len(separate)
    for ours, theirs in zip(shared, separate, strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist() and ours.episode == theirs.episode
        for one, other in zip(ours.choices, theirs.choices, strict=True):
            assert one.alternatives == other.alternatives
            numbers = [{**asdict(choice), "alternatives": None} for choice in (one, other)]
            assert numbers[0] == pytest.approx(numbers[1], abs=within)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"context": 24}, {"mode": "free", "max_command_tokens": 4}])
@pytest.mark.parametrize("parallel", [1, 3, 12])
def test_shared_prefixes_change_no_choice(kind: Kind, options: dict[str, Any], parallel: int) -> None:
    model = tiny_model(kind)
    player = agent(model, **options)
    shared = segments(player, parallel=parallel)
    assert_same(shared, segments(agent(model, share_prefixes=False, **options), parallel=parallel))
    assert len(player.reader._cache.lengths) <= parallel


def test_what_episodes_have_in_common_is_read_once() -> None:
    model = tiny_model()
    players = [agent(model, greedy=True, share_prefixes=share) for share in (True, False)]
    shared, separate = (segments(player, episodes=24, parallel=8) for player in players)
    assert_same(shared, separate)
    assert len({tuple(segment.tokens) for segment in shared}) == 2  # one stream per game
    assert players[1].reader.computed > 10 * players[0].reader.computed


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_later_episode_continues_an_earlier_one(parallel: int) -> None:
    model = tiny_model()
    player = agent(model, greedy=True)
    segments(player, episodes=6, parallel=parallel)
    before = player.reader.computed
    segments(player, episodes=6, parallel=parallel)
    assert player.reader.computed == before


def test_a_changed_model_reads_everything_again() -> None:
    model = tiny_model()
    player = agent(model)
    segments(player)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.ones_like(parameter)
    assert_same(segments(player), segments(agent(model)), within=0.0)


def test_a_model_that_changes_after_an_interrupted_episode_reads_everything_again() -> None:
    model = tiny_model()
    player = agent(model)
    with EpisodeRunner([GAMES], seed=0, parallel=4) as runner:
        next(played := runner.play(player, 12))
        played.close()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.3
    player.take_segments()
    assert_same(segments(player, first=100), segments(agent(model, share_prefixes=False), first=100))


def test_a_pass_that_fails_leaves_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    player = agent(model)
    with monkeypatch.context() as patch:
        patch.setattr(ActorCritic, "hidden_states", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            segments(player)
    assert_same(segments(player, first=100), segments(agent(model, share_prefixes=False), first=100))


@pytest.mark.parametrize("mode", ["trie", "free"])
def test_separate_streams_are_computed_once_each(mode: Mode) -> None:
    forced = script(*SCENES, scene("a room", "go north"), scene("red", "go south"))
    player = agent(tiny_model(), share_prefixes=False, mode=mode, context=40)
    segments(player, spec=forced)
    assert player.reader.tokens == player.reader.computed > 0


def test_few_outputs_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "MAX_OUTPUTS", 2)
    model = tiny_model()
    player = agent(model, greedy=True)
    assert_same(segments(player), segments(agent(model, greedy=True, share_prefixes=False)))
    assert max(len(player.reader._outputs), len(player.reader._values)) <= 2


def test_a_forgetful_agent_starts_as_a_new_one() -> None:
    model = tiny_model()
    player = agent(model)
    segments(player, parallel=7)
    player.forget()
    assert_same(segments(player), segments(agent(model)), within=0.0)


def test_with_dropout_equal_streams_are_read_separately() -> None:
    model = tiny_model("gpt2", dropout=0.5).train()
    player = agent(model)
    first = [segment.choices[0].logprob for segment in segments(player, spec=script(*SCENES), parallel=12)]
    assert len(set(first)) == 12
    model.eval()
    assert_same(segments(player), segments(agent(model)), within=0.0)


def test_the_same_text_with_other_commands_has_its_own_outputs() -> None:
    plays = [[scene("a room", "go north", command)] for command in ("go south", "take key", "drop key")]
    spec = ScriptSpec(plays=plays, over=False, end="a room")
    model = tiny_model()
    assert_same(segments(agent(model), spec=spec), segments(agent(model, share_prefixes=False), spec=spec))


@contextmanager
def changed(owner: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, replacement)
        yield


def test_the_comparison_notices_a_wrong_prefix() -> None:
    """The control: a cache that copies one token too many gives other numbers."""
    model = tiny_model()
    right = RaggedCache._longest_prefix

    def wrong(cache: RaggedCache, tokens: Any, start: int) -> tuple[int, int]:
        row, length = right(cache, tokens, start)
        return row, min(length + 1, len(tokens)) if length else length

    separate = segments(agent(model, share_prefixes=False))
    with changed(RaggedCache, "_longest_prefix", wrong), pytest.raises(AssertionError):
        assert_same(segments(agent(model)), separate)


STEPS = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(3, 5), min_size=1, max_size=6)), max_size=25)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, ends=st.sets(st.integers(0, 24)), rows=st.integers(4, 6))
def test_any_streams_may_share_few_rows(steps: list[tuple[int, list[int]]], ends: set[int], rows: int) -> None:
    model = tiny_model()
    cache = RaggedCache(model.layers)
    streams: list[list[int]] = [[] for _ in range(4)]
    places: list[int | None] = [None] * 4
    for number, (which, tokens) in enumerate(steps):
        streams[which] = (streams[which] + tokens)[:100]
        row = places[which] = cache.extend(places[which], streams[which], min_rows=rows)
        unread = streams[which][cache.lengths[row] :]
        with torch.no_grad():
            (hidden,) = forward_trees(model, cache, [TreeInput(row=row, tokens=unread)])
            expected = model.hidden_states(torch.tensor([streams[which]]), use_cache=False)[0, -1]
        assert unread and len(cache.lengths) <= rows
        assert_close(hidden, expected)
        if number in ends:
            cache.free_row(row)
            streams[which], places[which] = [], None
