"""Token streams: what a choice earned, what comes after it, and that no token is ever encoded twice."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Choice, Segment, TokenStream
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from tests.helpers.models import KINDS, Kind, agent, assert_close, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec, script


def choice(value: float, position: int = 0, turn: int = 0) -> Choice:
    return Choice(
        position=position, turn=turn, alternatives=(3, 4), chosen=0, logprob=-0.7, value=value, q_value=0.0, entropy=0.7
    )


def played(stream: TokenStream, turns: list[tuple[list[float], float]], bootstrap: float | None) -> list[Segment]:
    """Segments of turns (values of the choices, reward of the command)."""
    reward = 0.0
    for number, (values, earned) in enumerate(turns):
        stream.begin_turn(reward, first=number == 0)
        stream.tokens.append(number)
        for value in values:
            stream.record(choice(value, len(stream.tokens) - 1, stream.turn))
            stream.tokens.append(99)
        reward = earned
    return stream.finish(reward, bootstrap=bootstrap)


def numbers(segment: Segment) -> list[tuple[float, float, float]]:
    return [(c.reward, c.discount, c.next_value) for c in segment.choices]


def test_forced_turns_are_bridged_by_powers_of_gamma() -> None:
    turns: list[tuple[list[float], float]] = [([1.0], 3.0), ([], 4.0), ([], 8.0), ([2.0], 5.0)]
    (segment,) = played(TokenStream(episode=0, gamma=0.5), turns, None)
    first, last = numbers(segment)
    assert first == (3.0 + 4.0 / 2 + 8.0 / 4, 1 / 8, 2.0)
    assert last[:2] == (5.0, 0.0)


def test_inside_a_command_nothing_is_earned_and_nothing_discounted() -> None:
    (segment,) = played(TokenStream(episode=0, gamma=0.5), [([1.0, 2.0, 3.0], 7.0), ([4.0], 1.0)], 6.0)
    assert numbers(segment) == [(0.0, 1.0, 2.0), (0.0, 1.0, 3.0), (7.0, 0.5, 4.0), (1.0, 0.5, 6.0)]


def test_rewards_before_the_first_choice_are_nobodys() -> None:
    (segment,) = played(TokenStream(episode=0, gamma=0.5), [([], 3.0), ([], 5.0), ([1.0], 7.0)], None)
    assert numbers(segment)[0][:2] == (7.0, 0.0)


def test_terminated_has_no_future_truncated_has() -> None:
    (over,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 7.0)], None)
    (cut,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 7.0)], 9.0)
    assert over.choices[0].discount == 0.0
    assert numbers(cut) == [(7.0, 0.5, 9.0)]


def test_forced_turns_before_the_end_count_too() -> None:
    (over,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 2.0), ([], 4.0)], None)
    (cut,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 2.0), ([], 4.0)], 9.0)
    assert numbers(over)[0][:2] == (4.0, 0.0)
    assert numbers(cut) == [(4.0, 0.25, 9.0)]


def test_an_episode_without_choices_has_no_segment() -> None:
    assert played(TokenStream(episode=0, gamma=0.5), [([], 2.0), ([], 4.0)], 1.0) == []


def test_a_segment_ends_at_its_last_choice() -> None:
    with pytest.raises(ValueError, match="at least one choice"):
        Segment(episode=0, tokens=np.zeros(1, dtype=np.int64), choices=())
    with pytest.raises(ValueError, match="last choice's position 0"):
        Segment(episode=0, tokens=np.zeros(2, dtype=np.int64), choices=(choice(0.0),))


turns = st.lists(st.tuples(st.lists(st.floats(-2, 2), max_size=3), st.floats(-2, 2)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(turns, st.floats(0, 1), st.none() | st.floats(-2, 2), st.sets(st.integers(0, 7)))
def test_choices_add_up_to_the_episode(
    given: list[tuple[list[float], float]], gamma: float, bootstrap: float | None, cuts: set[int]
) -> None:
    """The rewards of the choices, discounted by theirs, are the rewards of the turns, discounted by gamma."""
    stream, reward = TokenStream(episode=0, gamma=gamma), 0.0
    for number, (values, earned) in enumerate(given):
        stream.begin_turn(reward, first=number == 0)
        stream.tokens.append(number)
        if number in cuts:
            stream.cut(1)
        for value in values:
            stream.record(choice(value, len(stream.tokens) - 1))
            stream.tokens.append(99)
        reward = earned
    segments = stream.finish(reward, bootstrap=bootstrap)
    choices = [c for segment in segments for c in segment.choices]
    assert [c.value for c in choices] == [value for values, _ in given for value in values]
    for now, after in itertools.pairwise(choices):  # also across cuts
        assert now.next_value == after.value
    if not choices:
        return
    begin = next(number for number, (values, _) in enumerate(given) if values)
    wanted = sum(gamma**k * earned for k, (_, earned) in enumerate(given[begin:]))
    wanted += 0.0 if bootstrap is None else gamma ** (len(given) - begin) * bootstrap
    total = 0.0 if bootstrap is None else choices[-1].next_value
    for c in reversed(choices):
        total = c.reward + c.discount * total
    assert total == pytest.approx(wanted, abs=1e-9)


# -- the agent's streams, from real games ------------------------------------------------------------------


class CountingTokenizer:
    """A tokenizer that remembers every text that it was given."""

    def __init__(self) -> None:
        self.inner, self.texts = tokenizer(), list[str]()

    def encode(self, text: str, **kwargs: Any) -> Any:
        self.texts.append(text)
        return self.inner.encode(text, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def encode(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


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
    with EpisodeRunner([spec], seed=0, parallel=parallel) as arena:
        list(arena.play(player, episodes))
    return player.take_segments()


def test_the_updates_tokens_are_the_pieces_joined() -> None:
    spec = LONG
    for seed in range(4):
        player = agent(tiny_model(), seed=seed)
        with EpisodeRunner([spec], seed=0) as arena:
            (episode,) = arena.play(player, 1)
        (segment,) = player.take_segments()
        ids: list[int] = []
        for step in episode.steps:
            ids += [*encode(step.observation), *encode("\n>"), *encode(step.decision.command), *encode("\n")]
        assert segment.tokens.tolist() == ids[: len(segment.tokens)]
        for c in segment.choices:  # what follows a choice is what was chosen
            assert ids[c.position + 1] == c.alternatives[c.chosen]


def test_every_text_is_encoded_once() -> None:
    player = agent(tiny_model())
    player.tokenizer = counting = CountingTokenizer()
    segments_of(player, LONG)
    observations = Counter(text for text in counting.texts if text.endswith(">"))
    assert observations == Counter(f"{scene.text}\n>" for scene in [*LONG.plays[0], Scene("a room", {})])
    commands = {command for scene in LONG.plays[0] for command in scene.rewards}
    turns = [f" {command}" for scene in LONG.plays[0] for command in scene.rewards]
    assert {text for text in counting.texts if text.startswith(" ")} == {f" {command}" for command in commands}
    before = len(counting.texts)
    assert before <= len(observations) + len(turns) + len(LONG.plays[0])
    segments_of(player, LONG)  # the commands are known by now
    assert len(counting.texts) == before + sum(observations.values())


def recomputed(player: LanguageModelAgent, segment: Segment) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi, v and q of each choice, by one plain pass over the segment."""
    model = player.model
    with torch.no_grad():
        hidden = model.hidden_states(torch.from_numpy(segment.tokens)[None], use_cache=False)[0]
        found = []
        for c in segment.choices:
            read = model.evaluate_heads(hidden[c.position][None], torch.tensor([c.alternatives]))
            assert read.q_values is not None
            q = read.q_values if read.target_q_values is None else read.target_q_values
            found.append((read.logprobs[0, c.chosen], read.values[0], q[0, c.chosen].min()))
    logprobs, values, q_values = zip(*found, strict=True)
    return torch.stack(logprobs), torch.stack(values), torch.stack(q_values)


def check_recorded(player: LanguageModelAgent, segments: list[Segment]) -> None:
    for segment in segments:
        logprobs, values, q_values = recomputed(player, segment)
        assert_close(torch.tensor([c.logprob for c in segment.choices]), logprobs)
        assert_close(torch.tensor([c.value for c in segment.choices]), values)
        assert_close(torch.tensor([c.q_value for c in segment.choices]), q_values)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_recorded_is_what_the_update_reads(kind: Kind) -> None:
    player = agent(tiny_model(kind, q_heads=2, target_q=True))
    segments = segments_of(player, LONG, episodes=6, parallel=4)
    assert [segment.episode for segment in segments] == list(range(6))
    assert sum(len(segment.choices) for segment in segments) > 20
    check_recorded(player, segments)


def test_turns_rewards_and_discounts_of_a_real_episode() -> None:
    player = agent(tiny_model())
    with EpisodeRunner([LONG], seed=0) as arena:
        (episode,) = arena.play(player, 1)
    (segment,) = player.take_segments()
    last = {c.turn: c for c in segment.choices}
    rewards = [step.reward for step in episode.steps]
    assert set(last) == {0, 1, 3, 4}  # turns 2 and 5 had one command
    assert last[0].reward == rewards[0] and last[0].discount == 0.5
    assert last[1].reward == rewards[1] + 0.5 * rewards[2] and last[1].discount == 0.25
    assert last[4].reward == rewards[4] + 0.5 * rewards[5] and last[4].discount == 0.25
    ids: list[int] = []
    for step in episode.steps:
        ids += [*encode(step.observation), *encode("\n>"), *encode(step.decision.command), *encode("\n")]
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
        assert [c.turn for piece in pieces for c in piece.choices] == sorted(
            c.turn for piece in pieces for c in piece.choices
        )
        assert {c.turn for piece in pieces for c in piece.choices} == set(range(25))
        for piece in pieces:
            assert len(piece.tokens) <= limit
            assert piece.tokens[: len(opening)].tolist() == opening
            for now, after in itertools.pairwise(piece.choices):
                assert now.next_value == after.value
        for piece, following in itertools.pairwise(pieces):
            assert piece.choices[-1].next_value == following.choices[0].value
            assert piece.choices[-1].discount == 0.5  # a cut is no end
        assert pieces[-1].choices[-1].discount == 0.5
    check_recorded(player, segments)


def test_a_cut_encodes_nothing_again() -> None:
    player = agent(tiny_model(positions=40))
    player.tokenizer = counting = CountingTokenizer()
    segments_of(player, MARATHON)
    observations = [text for text in counting.texts if text.endswith(">")]
    assert observations == [f"{scene.text}\n>" for scene in MARATHON.plays[0]] + ["you won\n>"]


def test_an_opening_longer_than_the_window_is_cut_at_once() -> None:
    spec = script(scene("you see a red key " * 20, "go north", "go south"), scene("room", "go north", "go south"))
    player = agent(tiny_model(positions=40))
    (segment,) = segments_of(player, spec)
    assert len(segment.tokens) <= 40 and len(segment.choices) == 2
    check_recorded(player, [segment])


def test_long_commands_in_a_short_window() -> None:
    long = " ".join(["take"] * 18)
    scenes = [scene(f"room {n}", f"{long} key", f"{long} lamp") for n in range(6)]
    player = agent(tiny_model(positions=32))
    segments = segments_of(player, script(*scenes, over=False))
    assert {c.turn for segment in segments for c in segment.choices} == set(range(6))
    assert max(len(segment.tokens) for segment in segments) <= 32
    check_recorded(player, segments)


def test_commands_that_can_never_fit_are_an_error() -> None:
    long = " ".join(["take"] * 40)
    player = agent(tiny_model(positions=32))
    with pytest.raises(AgentError, match="context"):
        segments_of(player, script(scene("room", f"{long} key", f"{long} lamp")))
