"""Training on games that fail: failures are a metric, and a run that only fails ends with an error."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import games
from agents.config import TrainConfig
from agents.play import transcript
from agents.storage.checkpoint_files import checkpoints
from agents.storage.run_folder import TENSORBOARD, read_metrics
from agents.training.factory import make_trainer
from games.code_import import import_name

SOURCE = """
import gymnasium


class Flaky(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(99)
    commands = {"admissible_commands": ["left", "right"]}
    episodes = failed = 0
    every = 1000  # each of so many episodes fails
    how = "step raises"

    def reset(self, *, seed=None, options=None):
        Flaky.episodes += 1
        self.turns, self.fails = 0, Flaky.episodes % Flaky.every == 0
        Flaky.failed += self.fails
        if self.fails and Flaky.how == "reset raises":
            raise OSError("the server is gone")
        return "Left or right?", self.commands

    def step(self, action):
        self.turns += 1
        if self.fails and Flaky.how == "step raises":
            raise OSError("the server is gone")
        if self.fails and Flaky.how == "bytes":
            return b"Well.", 1.0, True, False, {}
        return "Well.", float(self.turns), self.turns == 2, False, self.commands
"""


@pytest.fixture
def game(tmp_path: Path) -> str:
    (tmp_path / "flaky.py").write_text(SOURCE)
    return f"{tmp_path / 'flaky.py'}:Flaky"


def trainer_of(game: str, out: Path, **changes: Any) -> Any:
    usual = {"game": game, "trunk": "pico", "episodes": 6, "parallel": 1, "epochs": 1, "iterations": 3}
    return make_trainer(TrainConfig.from_flat(usual | changes), out)


@pytest.mark.parametrize("how", ["step raises", "reset raises", "bytes"])
def test_failed_episodes_are_a_metric(game: str, how: str, tmp_path: Path) -> None:
    trainer, flaky = trainer_of(game, tmp_path / "run"), import_name(game, "class")
    flaky.how, flaky.every, flaky.episodes, flaky.failed = how, 4, 0, 0
    counts, before = [], 0
    for metrics in trainer.run():
        counts.append(flaky.failed - before)
        before = flaky.failed
        assert metrics["errors"] == counts[-1]
    assert sum(counts) >= 4
    assert (trainer.failures.count, trainer.failures.last) == (sum(counts), trainer.runner.failures.last)
    assert [line["errors"] for line in read_metrics(tmp_path / "run")] == counts
    board = EventAccumulator(str(tmp_path / "run" / TENSORBOARD)).Reload()
    assert [event.value for event in board.Scalars("errors")] == counts
    recorded = [entry.episode.error for entry in transcript.read(tmp_path / "run" / transcript.NAME)]
    assert len(recorded) == 18
    assert sum(error is not None for error in recorded) == (0 if how == "reset raises" else sum(counts))


def test_a_sound_game_has_no_errors(game: str, tmp_path: Path) -> None:
    assert [metrics["errors"] for metrics in trainer_of(game, tmp_path / "run").run()] == [0, 0, 0]


@pytest.mark.parametrize("how", ["step raises", "bytes"])
def test_a_run_in_which_all_episodes_fail_is_an_error(game: str, how: str, tmp_path: Path) -> None:
    trainer, flaky = trainer_of(game, tmp_path / "run", episodes=2, iterations=1), import_name(game, "class")
    flaky.how, flaky.every = how, 1
    with pytest.raises(
        games.FatalGameError, match=r"\A2 of 2 episodes failed; the last: .*flaky.py:Flaky: .*; correct"
    ):
        list(trainer.run())
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["000001"]


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_a_run_that_begins_to_fail_ends_and_keeps_its_last_iteration(
    game: str, iterations: int, tmp_path: Path
) -> None:
    trainer, flaky = trainer_of(game, tmp_path / "run", save_every=10), import_name(game, "class")
    flaky.how, flaky.every = "reset raises", 1000
    run = trainer.run()
    for _ in range(iterations):
        next(run)
    flaky.every = 1
    with pytest.raises(games.FatalGameError, match=r"3 starts in a row failed alike; .*the server is gone"):
        next(run)
    kept = [folder.name for folder in checkpoints(tmp_path / "run")] if iterations else []
    assert kept == [f"{iterations:06d}"] * bool(iterations)
    assert (tmp_path / "run" / "settings.json").exists() == bool(iterations)
