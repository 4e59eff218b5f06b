"""The replay buffer: which episodes it keeps, their log pi and v, and runs that train on them and are resumed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from actde.errors import ConfigError
from agents.config import TrainConfig
from agents.play import transcript
from agents.play.episode import Episode
from agents.storage.run_folder import read_metrics
from agents.training import episode_streams, replay_buffer
from agents.training.dagger import DAggerAgent, Expert
from agents.training.factory import make_trainer
from agents.training.progress import Progress
from agents.training.replay_buffer import ReplayBuffer, select_indices
from agents.training.rollout import Rollout
from tests.agents.training.test_dagger import plain_logprobs
from tests.agents.training.test_recorded_play import GUIDED, OVER, PROMPTS, assert_same_segments, episodes_of
from tests.agents.training.test_rejection import episode
from tests.agents.training.test_trainer import assert_same_run, settings, timeless, trained
from tests.helpers.models import agent, tiny_model
from tests.helpers.processes import run_two
from tests.helpers.updates import SPEC

LUCKY = """
import gymnasium


class Lucky(gymnasium.Env):
    action_space = gymnasium.spaces.Text(20)
    observation_space = gymnasium.spaces.Text(200)

    def reset(self, *, seed=None, options=None):
        self.pays = seed in PAYING
        return "A bell.", {"admissible_commands": ["leave", "look", "ring", "wait"]}

    def step(self, command):
        return "It rang.", float(self.pays and command == "ring"), True, False, {"admissible_commands": []}
"""
"""Ringing the bell pays for the seeds in PAYING only."""
FIRST = {int(np.random.SeedSequence([0, episode]).generate_state(1)[0]) for episode in range(8)}
"""The seeds of the first eight episodes of a run with the seed 0."""


def test_which_episodes_are_kept_by_hand() -> None:
    alone = [episode(n, [earned]) for n, earned in enumerate([0, 3, 1, 3, 2])]
    assert select_indices(alone, 3, keep="best", gamma=0.5) == [1, 3, 4], "in order of time"
    assert select_indices(alone, 1, keep="best", gamma=0.5) == [3], "of equal returns the later"
    assert select_indices(alone, 3, keep="latest", gamma=0.5) == [2, 3, 4]
    assert (
        select_indices(alone, 9, keep="best", gamma=0.5)
        == select_indices(alone, 9, keep="latest", gamma=0.5)
        == [*range(5)]
    )
    late = [episode(0, [0, 2]), episode(1, [1.5])]
    assert select_indices(late, 1, keep="best", gamma=0.5) == [1], "a later reward is discounted"
    assert select_indices(late, 1, keep="best", gamma=1.0) == [0]
    two = [*alone, episode(5, [-2], game="h"), episode(6, [-1], game="h")]
    assert select_indices(two, 2, keep="best", gamma=0.5) == [3, 6], "the best of each game"
    assert select_indices(two, 3, keep="best", gamma=0.5) == [1, 3, 6], (
        "then the second best, of which the game g has more"
    )


@pytest.mark.parametrize("keep", ["best", "latest"])
def test_the_kept_episodes_do_not_depend_on_how_many_are_added_at_a_time(keep: Any) -> None:
    rng = np.random.default_rng(0)
    everything = [episode(n, [int(rng.integers(4))], game="ghk"[rng.integers(3)]) for n in range(60)]
    wanted = [everything[index] for index in select_indices(everything, 7, keep=keep, gamma=1.0)]
    for step in (1, 4, 25):
        kept = list[Episode]()
        for start in range(0, 60, step):
            candidates = [*kept, *everything[start : start + step]]
            kept = [candidates[index] for index in select_indices(candidates, 7, keep=keep, gamma=1.0)]
        assert kept == wanted


def buffer_of(player: Any, labels: Any = "none", **changes: Any) -> ReplayBuffer:
    values = {"buffer_episodes": 9, "gamma": 0.5, "top_fraction": 0.25, "prefix_sharing": "off"}
    config = TrainConfig.from_flat(values | changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(episode_streams, "prompts_of", lambda specs: PROMPTS)
        return ReplayBuffer(config, player, (), labels)


def rollout_with(episodes: Sequence[Episode], segments: Any = ()) -> Rollout:
    unused: dict[str, Any] = {"separate_tokens": 0, "computed_tokens": 0, "strategies": {}, "label_metrics": {}}
    return Rollout(episodes=list(episodes), segments=list(segments), tokens=0, next_episode=0, errors=0, **unused)


@pytest.mark.parametrize("spec", [SPEC, OVER], ids=["truncated", "over"])
def test_kept_episodes_have_the_numbers_of_the_current_model(spec: Any) -> None:
    model = tiny_model()
    player = agent(model)
    episodes, played = episodes_of(player, spec=spec), player.take_segments()
    buffer = buffer_of(player)
    first = buffer.add_to(rollout_with(episodes, played), 0, Progress())
    assert first.segments == played and first.label_metrics == {"buffer_size": 0}

    second = buffer.add_to(rollout_with([]), 0, Progress())
    assert second.label_metrics == {"buffer_size": 5} and second.tokens == sum(len(s.tokens) for s in played)
    assert_same_segments(second.segments, played)
    assert [segment.episode for segment in second.segments] == [-5, -4, -3, -2, -1]

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    moved = buffer.add_to(rollout_with([]), 0, Progress()).segments
    current = plain_logprobs(model, moved)
    choices = [choice for segment in moved for choice in segment.choices]
    wanted = [float(row[choice.chosen].detach()) for row, choice in zip(current, choices, strict=True)]
    assert [choice.logprob for choice in choices] == pytest.approx(wanted, abs=2e-5)
    with pytest.raises(AssertionError):
        assert_same_segments(moved, played)


def test_rejection_ranks_kept_and_new_episodes_together() -> None:
    player = agent(tiny_model())
    episodes = episodes_of(player, 12)
    segments = player.take_segments()
    buffer = buffer_of(player, "best")
    buffer.add_to(rollout_with(episodes[:6], segments[:6]), 0, Progress())
    stale = [replace(s, choices=tuple(replace(c, label=c.chosen) for c in s.choices)) for s in segments[6:]]
    found = buffer.add_to(rollout_with(episodes[6:], stale), 0, Progress())
    earned = [sum(0.5**turn * step.reward for turn, step in enumerate(e.steps)) for e in episodes]
    least = sorted(earned, reverse=True)[2]
    labelled = [all(choice.label == choice.chosen for choice in segment.choices) for segment in found.segments]
    assert labelled == [value >= least for value in earned]
    assert found.label_metrics == {"buffer_size": 6, "kept": sum(labelled) / 12}


def test_of_an_experts_play_only_the_experts_commands_are_imitated() -> None:
    player = agent(tiny_model())
    episodes = episodes_of(DAggerAgent(player, Expert(prefer_policy=False), beta=0.3), 6, spec=GUIDED)
    mixed = [each for each in episodes if each.with_expert]
    assert 0 < len(mixed) < 6
    buffer = buffer_of(player, "expert")
    buffer.add(episodes)
    found = buffer.add_to(rollout_with([]), 0, Progress()).segments
    by_turn = {(s.episode, c.turn): c.label is not None for s in found for c in s.choices}
    assert by_turn == {
        (number - len(mixed), turn): step.decision.by_expert
        for number, each in enumerate(mixed)
        for turn, step in enumerate(each.steps)
    }


REJECTION: dict[str, Any] = {"optimizer": "rejection-transition", "kl_coef": 0.0, "kl_target": None}


def chance_of_ringing(out: Path, **changes: Any) -> float:
    """Return the probability of `ring` after 20 rollouts of eight episodes. It pays in the first rollout only."""
    code = out.with_suffix(".py")
    code.write_text(f"PAYING = {FIRST}\n{LUCKY}")
    usual = {
        "episodes": 8,
        "parallel": 8,
        "top_actions": 1,
        "iterations": 20,
        "dropout": 0.0,
        "rollout_dropout": False,
        "lr": 1e-2,
        "entropy_coef": 0.5,
    }
    trained(settings(f"{code}:Lucky", **(REJECTION | usual | changes)), out)
    (*_, last) = transcript.read(out / transcript.NAME)
    return last.episode.steps[0].decision.probabilities["ring"]


@pytest.mark.slow
def test_a_win_that_was_found_once_is_still_imitated_many_rollouts_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = chance_of_ringing(tmp_path / "kept", buffer_episodes=1)
    won = [e.iteration for e in transcript.read(tmp_path / "kept" / transcript.NAME) if e.episode.reward]
    assert set(won) == {0}, "the bell pays in the first rollout only"
    without = chance_of_ringing(tmp_path / "without")
    latest = chance_of_ringing(tmp_path / "latest", buffer_episodes=1, buffer_keep="latest")
    right = select_indices

    def worst(episodes: Sequence[Episode], *arguments: Any, **settings: Any) -> list[int]:
        steps = [tuple(replace(step, reward=-step.reward) for step in each.steps) for each in episodes]
        return right([replace(e, steps=own) for e, own in zip(episodes, steps, strict=True)], *arguments, **settings)

    monkeypatch.setattr(replay_buffer, "select_indices", worst)
    wrong = chance_of_ringing(tmp_path / "wrong", buffer_episodes=1)
    assert kept > 0.7 and max(without, latest, wrong) < 0.5


LEARNERS: dict[str, dict[str, Any]] = {
    "rejection-transition": REJECTION | {"top_actions": 6},
    "rejection": {"optimizer": "rejection", "top_fraction": 0.5},
    "ilql": {"optimizer": "ilql", "q_heads": 2, "guide_beta": 2.0},
    "decision": {"optimizer": "decision", "wanted_return": 1.0, "buffer_keep": "latest"},
    "imitation": {"optimizer": "imitation", "beta": 0.5, "max_turns": 3},
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = "textworld:simple?seed=1" if name == "imitation" else "bandit"
    wanted = settings(game, **LEARNERS[name], buffer_episodes=5, iterations=4)
    whole = trained(wanted, tmp_path / "whole")
    assert [row["buffer_size"] for row in read_metrics(whole)] == [0, 5, 5, 5]
    part = trained(wanted.replace(iterations=2), tmp_path / "part")
    assert_same_run(trained(wanted, part, resume=True), whole)
    if name == "rejection-transition":
        monkeypatch.setattr(transcript, "read", lambda path: iter(()))
        wrong = trained(wanted.replace(iterations=2), tmp_path / "wrong")
        assert timeless(trained(wanted, wrong, resume=True)) != timeless(whole), "an empty buffer is noticed"


def test_the_episodes_of_a_run_are_divided_among_its_processes(tmp_path: Path) -> None:
    wanted = settings("bandit", **REJECTION, buffer_episodes=7, iterations=3)
    trainer = make_trainer(wanted, trained(wanted, tmp_path / "run"), resume=True)
    trainer.folder.unlock()
    indices = []
    for rank, processes in ((0, 1), (0, 2), (1, 2)):
        one: Any = SimpleNamespace(process_index=rank, num_processes=processes)
        trainer.accelerator, trainer.config = one, wanted.replace(buffer_episodes=99)
        indices.append([episode.index for episode in replay_buffer.filled_buffer(trainer).episodes])
    assert indices == [[*range(18)], [*range(0, 18, 2)], [*range(1, 18, 2)]]


@pytest.mark.slow
def test_two_processes_keep_their_own_episodes_and_resume_them(tmp_path: Path) -> None:
    words = ["train", "--game", "bandit", "--optimizer", "rejection-transition", "--trunk", "pico", "--episodes", "3"]
    words += ["--parallel", "3", "--top-actions", "4", "--buffer-episodes", "4", "--out"]
    run_two(*words, str(tmp_path / "whole"), "--iterations", "4")
    run_two(*words, str(tmp_path / "part"), "--iterations", "2")
    run_two("train", "--resume", "--out", str(tmp_path / "part"), "--iterations", "4")
    assert timeless(tmp_path / "part") == timeless(tmp_path / "whole")
    assert (tmp_path / "part" / transcript.NAME).read_bytes() == (tmp_path / "whole" / transcript.NAME).read_bytes()
    assert [row["buffer_size"] for row in read_metrics(tmp_path / "whole")] == [0, 3, 4, 4]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"optimizer": "ppo"}, "--buffer-episodes trains on play of earlier policies: expected an optimizer that"),
        ({"optimizer": "rejection", "data": "random:4"}, "--buffer-episodes keeps own play, but the model does not"),
    ],
)
def test_a_buffer_that_cannot_be_used_is_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        make_trainer(settings("bandit", buffer_episodes=4, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_transcript_of_a_resumed_run_is_one_line(tmp_path: Path) -> None:
    wanted = settings("bandit", **REJECTION, buffer_episodes=4, iterations=2)
    run = trained(wanted, tmp_path / "run")
    path = run / transcript.NAME
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["episode"]["won"] = "yes"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="line 4 is damaged") as error:
        make_trainer(wanted.replace(iterations=4), run, resume=True)
    assert "\n" not in str(error.value) and (run / "settings.json").exists()
