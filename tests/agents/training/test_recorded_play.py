"""Recorded play as data: token streams, labels, log pi, v and q of the choices, and errors of damaged files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.config import UpdateConfig
from agents.language_model.recorded_streams import StreamRecorder
from agents.language_model.token_stream import Choice, Segment
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.text.prompt import PLAIN
from agents.training.dagger import DAggerAgent, Expert
from agents.training.data_file import Converter
from agents.training.progress import Progress
from agents.training.recorded_play import RecordedPlay
from agents.training.rollout_batch import RolloutBatch
from benchmarks import recorded_play
from tests.helpers.models import KINDS, Kind, agent, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec
from tests.helpers.updates import OPTIONS, SPEC, assert_same_gradients, gradients

WAY = ("take red key", "go south", "take lamp")
NUMBERS = ("logprob", "value", "q_value", "entropy", "next_value")
OVER = replace(SPEC, over=True)
GUIDED = ScriptSpec([[Scene(f"room {n}", OPTIONS, policy=(command,)) for n, command in enumerate(WAY)]])
PROMPTS = {"": ("\n> ", "\n"), "script": ("\n> ", "\n")}


def converted(
    path: Path, episodes: Sequence[Episode], *, labels: str = "expert", mode: Any = "trie", context: int = 128
) -> Converter:
    recorder = StreamRecorder(tokenizer(), PLAIN, mode=mode, context=context, gamma=0.5)
    converter = Converter(recorder, PROMPTS, labels=labels)
    path.write_text("".join(converter.lines(("source", episode) for episode in episodes)))
    return converter


def opened(path: Path, model: Any, *, count: int = 99, **settings: Any) -> RecordedPlay:
    update = UpdateConfig(micro_batch_tokens=100, prefix_sharing="off")
    return RecordedPlay(path, model, update, count=count, vocabulary=len(tokenizer()), **settings)


def recorded(path: Path, model: Any, **settings: Any) -> list[Segment]:
    return opened(path, model, **settings).segments(0, Progress())[0]


def episodes_of(player: Any, count: int = 5, *, spec: Any = SPEC) -> list[Episode]:
    with EpisodeRunner([spec], seed=3, parallel=3) as runner:
        return sorted(runner.play(player, count), key=lambda episode: episode.index)


def without_numbers(choice: Choice) -> Choice:
    zeros: dict[str, Any] = dict.fromkeys(NUMBERS, 0.0)
    return replace(choice, **zeros)


def assert_same_segments(found: Sequence[Segment], wanted: Sequence[Segment], *, labels: bool = True) -> None:
    """The streams and choices are equal, and the numbers of the model are equal up to rounding."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert len(ours.choices) == len(theirs.choices)
        for one, other in zip(ours.choices, theirs.choices, strict=True):
            assert without_numbers(one) == replace(without_numbers(other), label=other.label if labels else one.label)
            for name in NUMBERS:
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2e-5), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [128, 20])
@pytest.mark.parametrize("spec", [SPEC, OVER], ids=["truncated", "over"])
def test_recorded_play_gives_the_segments_that_the_agent_recorded(
    kind: Kind, context: int, spec: ScriptSpec, tmp_path: Path
) -> None:
    model = tiny_model(kind)
    player = agent(model, context=context)
    episodes, wanted = episodes_of(player, spec=spec), player.take_segments()
    converted(tmp_path / "data", episodes, context=context)
    found = recorded(tmp_path / "data", model)
    assert (len(found) > 5) == (context == 20), "with the small context, streams are cut"
    assert_same_segments(found, wanted, labels=False)
    assert all(choice.label == choice.chosen for segment in found for choice in segment.choices)


def shifted(episode: Episode) -> Episode:
    """The episode with the label of each turn replaced by that of the next turn."""
    decisions = [step.decision for step in episode.steps]
    steps = zip(episode.steps, [*decisions[1:], decisions[0]], strict=True)
    return replace(episode, steps=tuple(replace(step, decision=decision) for step, decision in steps))


def test_imitation_of_recorded_play_is_imitation_of_the_expert_who_played(tmp_path: Path) -> None:
    model, player = tiny_model(), agent(tiny_model())
    episodes = episodes_of(DAggerAgent(player, Expert(prefer_policy=False)), spec=GUIDED)
    wanted = RolloutBatch(player.take_segments(), credit="token")
    converted(tmp_path / "data", episodes)
    found = RolloutBatch(recorded(tmp_path / "data", model), credit="token")
    assert_same_segments(found.segments, wanted.segments)
    ((ours,), (theirs,)) = (gradients(model, rollout, "imitation") for rollout in (found, wanted))
    assert_same_gradients(ours, theirs)

    converted(tmp_path / "wrong", [shifted(episode) for episode in episodes])
    wrong = RolloutBatch(recorded(tmp_path / "wrong", model), credit="token")
    with pytest.raises(AssertionError):
        assert_same_segments(wrong.segments, wanted.segments)
    with pytest.raises(AssertionError):
        assert_same_gradients(gradients(model, wrong, "imitation")[0], theirs)


def test_only_the_experts_commands_are_imitated_where_an_expert_played(tmp_path: Path) -> None:
    episodes = episodes_of(DAggerAgent(agent(tiny_model()), Expert(prefer_policy=False), beta=0.5), spec=GUIDED)
    by_expert = [[step.decision.by_expert for step in episode.steps] for episode in episodes]
    assert {True, False} <= {expert for row in by_expert for expert in row}
    converted(tmp_path / "data", (mixed := [episode for episode in episodes if episode.with_expert]))
    found = {
        (s.episode, c.turn): c.label is not None for s in recorded(tmp_path / "data", tiny_model()) for c in s.choices
    }
    wanted = [[step.decision.by_expert for step in episode.steps] for episode in mixed]
    assert found == {(i - len(mixed), turn): e for i, row in enumerate(wanted) for turn, e in enumerate(row)}
    assert converted(tmp_path / "best", mixed, labels="best").turns == 3 * len(mixed)
    assert all(c.label is not None for s in recorded(tmp_path / "best", tiny_model()) for c in s.choices)


def test_a_command_that_is_not_admissible_is_read_but_not_imitated(tmp_path: Path) -> None:
    (episode,) = episodes_of(DAggerAgent(agent(tiny_model()), Expert(prefer_policy=False)), 1, spec=GUIDED)
    typed = replace(episode.steps[1], decision=replace(episode.steps[1].decision, command="drop lamp"))
    converter = converted(tmp_path / "data", [replace(episode, steps=(episode.steps[0], typed, episode.steps[2]))])
    (segment,) = recorded(tmp_path / "data", tiny_model())
    assert converter.inadmissible == 1 and {choice.turn for choice in segment.choices} == {0, 2}
    assert "> drop lamp\n" in tokenizer().decode(segment.tokens)
    last = [choice for choice in segment.choices if choice.turn == 0][-1]
    assert last.reward == OPTIONS[WAY[0]] + 0.5 * episode.steps[1].reward and last.discount == 0.25


def test_in_free_text_every_token_of_a_command_and_its_end_is_imitated(tmp_path: Path) -> None:
    episodes = episodes_of(DAggerAgent(agent(tiny_model()), Expert(prefer_policy=False)), 1, spec=GUIDED)
    converted(tmp_path / "data", episodes, mode="free")
    (segment,) = recorded(tmp_path / "data", tiny_model(), whole_vocabulary=True)
    texts = tokenizer().convert_ids_to_tokens([choice.alternatives[0] for choice in segment.choices])
    assert texts == [*["take", "red", "key"], "\n", "go", "south", "\n", "take", "lamp", "\n"]
    assert all(choice.label == 0 and choice.logprob < 0 for choice in segment.choices)


def test_filtered_imitation_takes_the_best_episodes_of_all_data(tmp_path: Path) -> None:
    player = agent(tiny_model())
    episodes = episodes_of(player, 12)
    converted(tmp_path / "data", episodes, labels="best")
    play = opened(tmp_path / "data", tiny_model(), top_fraction=0.25)
    returns = sorted((sum(0.5**n * s.reward for n, s in enumerate(e.steps)) for e in episodes), reverse=True)
    assert len(play) == sum(earned >= returns[2] for earned in returns)
    lengths = [len(segment.choices) for segment in play.segments(0, Progress())[0]]
    assert len(lengths) == len(play)


def test_each_pass_takes_every_episode_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    converted(tmp_path / "data", episodes_of(agent(tiny_model()), 7))
    play = opened(tmp_path / "data", tiny_model(), count=3, seed=4)
    drawn = [list(play._draw(3 * iteration)) for iteration in range(7)]
    passes = np.array(drawn).reshape(3, 7).tolist()
    assert all(sorted(one) == list(range(7)) for one in passes) and passes[0] != passes[1]
    halves = [opened(tmp_path / "data", tiny_model(), count=3, seed=4, rank=rank, processes=2) for rank in (0, 1)]
    assert [list(halves[n % 2]._draw((n // 2 * 2 + n % 2) * 3)) for n in range(4)] == drawn[:4]
    assert opened(tmp_path / "data", tiny_model(), count=99).count == 7


def damaged(path: Path, line: int, **changes: Any) -> None:
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    segment = rows[line]["segments"][0]
    segment.update({name: value for name, value in changes.items() if name in segment})
    if "choice" in changes:
        index, value = changes["choice"]
        segment["choices"][-1][index] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tokens": [1, 2, "3"]}, "line 2 is damaged: segments.0.tokens.2: Input should be a valid integer"),
        ({"tokens": [1, 2]}, "line 2 is damaged: expected positions that increase"),
        ({"choice": (2, [999999, 3])}, "line 2 is damaged: expected tokens from 0 to"),
        ({"choice": (4, 99)}, "line 2 is damaged: expected one of"),
        ({"choice": (6, 1.5)}, "line 2 is damaged: expected a discount from 0 to 1"),
        ({"choice": (5, float("nan"))}, "line 2 is damaged"),
        ({"choices": []}, "line 2 is damaged: expected positions"),
    ],
)
def test_a_damaged_file_is_one_line(changes: Any, problem: str, tmp_path: Path) -> None:
    converted(tmp_path / "data", episodes_of(agent(tiny_model()), 3))
    damaged(tmp_path / "data", 1, **changes)
    with pytest.raises(AgentError) as error:
        opened(tmp_path / "data", tiny_model())
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_lacks_lines_is_damaged(tmp_path: Path) -> None:
    converted(path := tmp_path / "data", episodes_of(agent(tiny_model()), 3))
    whole = path.read_text().splitlines(keepends=True)
    for lines, problem in [
        (whole[:-1], "holds 3 episodes, and its last line says None"),
        (whole[1:], "holds 2 episodes, and its last line says 3"),
        ([*whole, whole[0]], "line 5 is damaged: expected the end of the file"),
    ]:
        path.write_text("".join(lines))
        with pytest.raises(AgentError, match=problem):
            opened(path, tiny_model())
    with pytest.raises(AgentError, match="is missing"):
        opened(tmp_path / "none", tiny_model())


def test_data_without_a_choice_is_an_error(tmp_path: Path) -> None:
    alone = ScriptSpec([[Scene("room", {"go north": 1.0})]])
    with pytest.raises(AgentError, match="no command to learn from"):
        converted(tmp_path / "data", episodes_of(agent(tiny_model()), 2, spec=alone))
    same = ScriptSpec([[Scene("room", dict.fromkeys(OPTIONS, 0.0))]], end="you see")
    converted(tmp_path / "same", list(islice(episodes_of(agent(tiny_model()), 2, spec=same), 2)), labels="best")
    with pytest.raises(AgentError, match="no best episode"):
        opened(tmp_path / "same", tiny_model(), top_fraction=0.5)


@pytest.mark.slow
def test_the_memory_of_reading_does_not_grow_with_the_transcript(tmp_path: Path) -> None:
    measured = recorded_play.measure(40_000, tmp_path)
    assert measured["transcript_mb"] > 10, "a list of all episodes would exceed the limit"
    for part in ("convert", "index", "read_1000"):
        assert measured[part]["growth_mb"] < 8, part
