"""Recorded segments as tensors, with credit per token and per command, against numbers by hand."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from agents.language_model.token_stream import Choice, Segment
from agents.model.head_outputs import HeadOutputs
from agents.play.runner import EpisodeRunner
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import agent, assert_close, tiny_model
from tests.helpers.scripts import Scene, ScriptSpec

Credit = Literal["token", "command"]


def choice(position: int, turn: int, alternatives: Sequence[int], chosen: int, number: float, **more: Any) -> Choice:
    """logprob, value, q and entropy of choice n are -n, n, 10 n and 100 n."""
    return Choice(
        position=position,
        turn=turn,
        alternatives=tuple(alternatives),
        chosen=chosen,
        logprob=-number,
        value=number,
        q_value=10 * number,
        entropy=100 * number,
        **more,
    )


def by_hand() -> list[Segment]:
    """Return two segments. The first has a command of two choices and one of one. The second has a command of one."""
    first = (
        choice(1, 0, (7, 8), 1, 1.0, next_value=2.0),
        choice(2, 0, (3, 4, 5), 0, 2.0, reward=6.0, discount=0.5, next_value=3.0),
        choice(4, 2, (7, 8), 0, 3.0, reward=7.0, discount=0.0),
    )
    second = (choice(0, 1, (4, 5), 1, 4.0, reward=8.0, discount=0.25, next_value=9.0),)
    return [
        Segment(episode=5, tokens=np.array([1, 2, 8, 3, 2]), choices=first),
        Segment(episode=6, tokens=np.array([1]), choices=second),
    ]


EXPECTED: dict[Credit, dict[str, list[list[float]]]] = {
    "token": {
        "rewards": [[0, 6, 7], [8, 0, 0]],
        "discounts": [[1, 0.5, 0], [0.25, 0, 0]],
        "mask": [[1, 1, 1], [1, 0, 0]],
        "logprobs": [[-1, -2, -3], [-4, 0, 0]],
        "values": [[1, 2, 3], [4, 0, 0]],
        "next_values": [[2, 3, 0], [9, 0, 0]],
        "q_values": [[10, 20, 30], [40, 0, 0]],
    },
    "command": {  # log-probabilities add; v is of the first choice; q, discount and next value of the last
        "rewards": [[6, 7], [8, 0]],
        "discounts": [[0.5, 0], [0.25, 0]],
        "mask": [[1, 1], [1, 0]],
        "logprobs": [[-3, -3], [-4, 0]],
        "values": [[1, 3], [4, 0]],
        "next_values": [[3, 0], [9, 0]],
        "q_values": [[20, 30], [40, 0]],
    },
}


@pytest.mark.parametrize("credit", ["token", "command"])
def test_the_batch_equals_numbers_by_hand(credit: Credit) -> None:
    batch = RolloutBatch(by_hand(), credit=credit).batch(with_q=True)
    for name, expected in EXPECTED[credit].items():
        assert getattr(batch, name).tolist() == expected, name
    assert batch.ref_logprobs is None
    assert RolloutBatch(by_hand(), credit=credit).batch(with_q=False).q_values is None


def head_outputs(part: Any) -> HeadOutputs:
    """Return outputs from whose numbers the choice and the alternative can be read."""
    n = part.choice_index.float()
    k = torch.arange(3.0)
    padding = part.choices.alternatives < 0
    logprobs = (-(n[:, None] + k / 10)).masked_fill(padding, -torch.inf)
    q = torch.stack([n[:, None] + k, 100 + n[:, None] + k], dim=-1)
    return HeadOutputs(logprobs=logprobs, entropy=10 * n, values=n, q_values=q, target_q_values=q.flip(-1))


@pytest.mark.parametrize("rows", [[0, 1], [1, 0], [1], [0]])
def test_outputs_equal_numbers_by_hand(rows: list[int]) -> None:
    expected = {
        "token": {
            "logprobs": [[-0.1, -1, -2], [-3.1, 0, 0]],
            "entropy": [[0, 10, 20], [30, 0, 0]],
            "values": [[0, 1, 2], [3, 0, 0]],
            "q_values": [[[1, 101], [1, 101], [2, 102]], [[4, 104], [0, 0], [0, 0]]],
            "target_q_values": [[1, 1, 2], [4, 0, 0]],
            "kl": [[0, 1, 2], [3, 0, 0]],
        },
        "command": {
            "logprobs": [[-1.1, -2], [-3.1, 0]],
            "entropy": [[10, 20], [30, 0]],
            "values": [[0, 2], [3, 0]],
            "q_values": [[[1, 101], [2, 102]], [[4, 104], [0, 0]]],
            "target_q_values": [[1, 2], [4, 0]],
            "kl": [[1, 2], [3, 0]],
        },
    }
    for credit in ("token", "command"):
        part = RolloutBatch(by_hand(), credit=credit).micro_batch(rows)
        outputs = part.outputs(replace(head_outputs(part), kl=part.choice_index.float()))
        for name, numbers in expected[credit].items():
            assert_close(getattr(outputs, name), torch.tensor(numbers, dtype=torch.float32)[rows])


def test_a_micro_batch_pads_to_its_own_longest_stream() -> None:
    rollout = RolloutBatch(by_hand(), credit="token")
    assert rollout.micro_batch([1]).tokens.tolist() == [[1]]
    assert rollout.micro_batch([1, 0]).tokens.tolist() == [[1, 0, 0, 0, 0], [1, 2, 8, 3, 2]]
    part = rollout.micro_batch([1, 0])
    assert part.choices.rows.tolist() == [0, 1, 1, 1]
    assert part.choices.positions.tolist() == [0, 1, 2, 4]
    assert part.choices.alternatives.tolist() == [[4, 5, -1], [7, 8, -1], [3, 4, 5], [7, 8, -1]]
    assert part.choices.chosen.tolist() == [1, 1, 0, 0]
    assert part.choice_index.tolist() == [3, 0, 1, 2]


def test_reference_logprobs_are_those_of_the_chosen_tokens() -> None:
    rollout = RolloutBatch(by_hand(), credit="command")
    rollout.ref_logprobs = torch.tensor(
        [[-1.0, -2, -9], [-3, -4, -5], [-6, -7, -9], [-8, -10, -9]]
    )  # chosen: 1, 0, 0, 1
    batch = rollout.batch(with_q=False)
    assert batch.ref_logprobs is not None
    assert batch.ref_logprobs.tolist() == [[-5, -6], [-10, 0]]


@pytest.mark.parametrize("credit", ["token", "command"])
def test_numbers_by_episode_and_turn(credit: Credit) -> None:
    rollout = RolloutBatch(by_hand(), credit=credit)
    numbers = torch.arange(6.0).reshape(2, 3) if credit == "token" else torch.tensor([[0.0, 2.0], [3.0, 9.0]])
    assert rollout.by_turn(numbers) == {(5, 0): 0.0, (5, 2): 2.0, (6, 1): 3.0}


def test_a_rollout_without_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        RolloutBatch([], credit="token")


def segments() -> list[Segment]:
    """Recorded segments of several lengths."""
    options = dict.fromkeys(("go north", "go south", "take red key", "take blue key", "take lamp"), 1.0)
    scenes = [Scene(f"room {n}", options) for n in range(4)]
    player = agent(tiny_model())
    with EpisodeRunner([ScriptSpec([scenes, scenes[:1], scenes[:3]])], seed=1, parallel=4) as runner:
        list(runner.play(player, 6))
    recorded = player.take_segments()
    assert len({len(segment.tokens) for segment in recorded}) > 2
    return recorded


@pytest.mark.parametrize("credit", ["token", "command"])
def test_padding_and_order_of_rows_change_nothing(credit: Credit) -> None:
    model, rollout = tiny_model(), RolloutBatch(segments(), credit=credit)

    def outputs(rows: Sequence[int]) -> Any:
        part = rollout.micro_batch(rows)
        with torch.no_grad():
            return part.outputs(model(part.tokens, part.choices))

    together = outputs(range(len(rollout)))
    for rows in ([3, 1, 5, 0, 2, 4], [2, 0], [4]):
        some = outputs(rows)
        for spec in fields(some):
            if getattr(some, spec.name) is not None:
                assert_close(getattr(some, spec.name), getattr(together, spec.name)[rows])


def test_order_of_segments_changes_nothing_in_the_batch() -> None:
    recorded = segments()
    order = [3, 1, 5, 0, 2, 4]
    batch = RolloutBatch(recorded, credit="command").batch(with_q=True)
    shuffled = RolloutBatch([recorded[i] for i in order], credit="command").batch(with_q=True)
    for spec in fields(batch):
        if getattr(batch, spec.name) is not None:
            assert torch.equal(getattr(shuffled, spec.name), getattr(batch, spec.name)[order]), spec.name
