"""Token streams: rewards, discounts and next values of choices."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.language_model.token_stream import Choice, Segment, TokenStream


def choice(value: float, position: int = 0, turn: int = 0) -> Choice:
    return Choice(
        position=position, turn=turn, alternatives=(3, 4), chosen=0, logprob=-0.7, value=value, q_value=0.0, entropy=0.7
    )


def played(stream: TokenStream, turns: list[tuple[list[float], float]], bootstrap: float | None) -> list[Segment]:
    """Return the segments of a stream. A turn is a tuple: v at each of its choices, and the reward of its command."""
    reward = 0.0
    for number, (values, earned) in enumerate(turns):
        stream.begin_turn(reward)
        stream.tokens.append(number)
        for value in values:
            stream.record(choice(value, len(stream.tokens) - 1, stream.turn))
            stream.tokens.append(99)
        reward = earned
    return stream.finish(reward, bootstrap=bootstrap)


def numbers(segment: Segment) -> list[tuple[float, float, float]]:
    return [(c.reward, c.discount, c.next_value) for c in segment.choices]


def test_forced_turns_discount_by_powers_of_gamma() -> None:
    turns: list[tuple[list[float], float]] = [([1.0], 3.0), ([], 4.0), ([], 8.0), ([2.0], 5.0)]
    (segment,) = played(TokenStream(episode=0, gamma=0.5), turns, None)
    first, last = numbers(segment)
    assert first == (3.0 + 4.0 / 2 + 8.0 / 4, 1 / 8, 2.0)
    assert last[:2] == (5.0, 0.0)


def test_no_reward_and_no_discount_inside_a_command() -> None:
    (segment,) = played(TokenStream(episode=0, gamma=0.5), [([1.0, 2.0, 3.0], 7.0), ([4.0], 1.0)], 6.0)
    assert numbers(segment) == [(0.0, 1.0, 2.0), (0.0, 1.0, 3.0), (7.0, 0.5, 4.0), (1.0, 0.5, 6.0)]


def test_rewards_before_the_first_choice_are_ignored() -> None:
    (segment,) = played(TokenStream(episode=0, gamma=0.5), [([], 3.0), ([], 5.0), ([1.0], 7.0)], None)
    assert numbers(segment)[0][:2] == (7.0, 0.0)


def test_only_a_truncated_episode_is_bootstrapped() -> None:
    (over,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 7.0)], None)
    (cut,) = played(TokenStream(episode=0, gamma=0.5), [([1.0], 7.0)], 9.0)
    assert over.choices[0].discount == 0.0
    assert numbers(cut) == [(7.0, 0.5, 9.0)]


def test_forced_turns_before_the_end_count() -> None:
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
def test_the_return_of_the_choices_is_the_return_of_the_episode(
    given: list[tuple[list[float], float]], gamma: float, bootstrap: float | None, cuts: set[int]
) -> None:
    """Rewards and discounts of choices give the same return as rewards of turns and gamma."""
    stream, reward = TokenStream(episode=0, gamma=gamma), 0.0
    for number, (values, earned) in enumerate(given):
        stream.begin_turn(reward)
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
    expected = sum(gamma**k * earned for k, (_, earned) in enumerate(given[begin:]))
    expected += 0.0 if bootstrap is None else gamma ** (len(given) - begin) * bootstrap
    total = 0.0 if bootstrap is None else choices[-1].next_value
    for c in reversed(choices):
        total = c.reward + c.discount * total
    assert total == pytest.approx(expected, abs=1e-9)
