"""Trackers: what they receive, how they are chosen, and what happens if one is missing or fails."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from actde.errors import ConfigError
from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.run_folder import read_metrics
from agents.training.factory import make_trainer
from agents.training.trackers import COLUMNS
from tests.conftest import Command

TINY = {"game": "bandit", "trunk": "pico", "episodes": 4, "iterations": 3, "save_every": 2}


class FakeError(Exception):
    """The error class of a fake tracker package."""


FakeError.__module__ = "wandb.errors"


class Table:
    """The table class of a fake tracker package."""

    def __init__(self, columns: list[str], data: list[list[Any]]) -> None:
        self.columns, self.data = columns, data


class Fake(GeneralTracker):  # type: ignore[misc]  # accelerate ships no types
    """A tracker that remembers what it receives, and prints as trackers do."""

    name, requires_logging_directory, tracker = "wandb", False, None

    def __init__(self, project: str, **settings: Any) -> None:
        super().__init__()
        self.project, self.settings, self.events = project, settings, list[tuple[Any, ...]]()
        made.append(self)

    def start(self) -> None:
        sys.stdout.write("tracking\n")
        self.events.append(("start",))

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.events.append(("log", step, values))

    def finish(self) -> None:
        self.events.append(("finish",))


class WithTables(Fake):
    def log_table(self, name: str, columns: list[str], data: list[list[Any]], step: int) -> None:
        self.events.append(("table", step, name, columns, data))


class OfTrackio(Fake):
    name = "trackio"


class Failing(Fake):
    def start(self) -> None:
        raise FakeError("No API key configured.\nLog in.")


made: list[Any] = []


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes of the two packages, which are optional."""
    made.clear()
    for name, tracker in (("wandb", WithTables), ("trackio", OfTrackio)):
        package = ModuleType(name)
        package.__dict__.update(Table=Table, Error=FakeError, finish=lambda: made[-1].events.append(("end",)))
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, name, tracker)


def train(out: Path, tracker: str | None = None, *, resume: bool = False, **changes: Any) -> None:
    chosen = {} if tracker is None else {"tracker": tracker}
    list(make_trainer(TrainConfig.from_flat(TINY | chosen | changes), out, resume=resume).run())


def test_tensorboard_records_the_metrics_by_default(tmp_path: Path) -> None:
    train(tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    found = EventAccumulator(str(events)).Reload()
    rows = read_metrics(tmp_path / "run")
    assert set(found.Tags()["scalars"]) == rows[0].keys() - {"iteration"}
    assert [point.value for point in found.Scalars("reward")] == pytest.approx([row["reward"] for row in rows])
    assert made == []


def test_none_records_the_metrics_in_the_run_only(tmp_path: Path) -> None:
    train(tmp_path / "run", "none")
    assert len(read_metrics(tmp_path / "run")) == 3 and not (tmp_path / "run" / "tensorboard").exists()


def test_trackers_receive_metrics_and_at_checkpoints_transcripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", "wandb,trackio,tensorboard")
    assert (tmp_path / "run" / "tensorboard").is_dir()
    wandb, trackio = made
    assert wandb.settings["dir"] == wandb.settings["name"] == trackio.settings["name"] == str(tmp_path / "run")
    assert wandb.settings["config"]["episodes"] == 4
    assert [event[:2] for event in wandb.events] == [
        ("start",), ("log", 0), ("log", 1), ("table", 1), ("log", 2), ("table", 2), ("finish",)
    ]  # fmt: skip
    (name, columns, data), rows = wandb.events[3][2:], read_metrics(tmp_path / "run")
    assert (name, columns) == ("transcripts", COLUMNS) and [row[0] for row in data] == [4, 5, 6, 7]
    assert wandb.events[2][2]["reward"] == rows[1]["reward"] == sum(row[5] for row in data) / 4
    assert data[0][-1].startswith("We had a\n>  ")
    logged = [event for event in trackio.events if event[0] == "log"]
    assert [step for _, step, _ in logged] == [0, 1, 1, 2, 2]
    assert trackio.events[-2:] == [("end",), ("finish",)]  # otherwise Trackio itself ends the run, at the exit
    table = logged[2][2]["transcripts"]
    assert (table.columns, table.data) == (columns, data)
    captured = capsys.readouterr()
    assert "tracking" not in captured.out and captured.err.count("tracking") == 2  # --json owns standard output


def test_a_resumed_run_may_have_another_tracker(tmp_path: Path) -> None:
    train(tmp_path / "run", "none", iterations=2)
    train(tmp_path / "run", "wandb", resume=True)
    assert [event[:2] for event in made[0].events] == [("start",), ("log", 2), ("table", 2), ("finish",)]


def test_a_tracker_that_cannot_start_is_one_line_and_the_folder_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Failing)
    message = r"^the tracker failed \(wandb\): No API key configured\.; another --tracker may work$"
    with pytest.raises(AgentError, match=message):
        train(tmp_path / "run", "wandb")
    train(tmp_path / "run", "none")
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Failing)
    with pytest.raises(AgentError, match="the tracker failed"):
        train(tmp_path / "run", "wandb", resume=True, iterations=4)
    assert len(read_metrics(tmp_path / "run")) == 3  # a resumed run is kept


def test_a_missing_package_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.delitem(sys.modules, "trackio")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "trackio" else find(name, *more)
    )
    found = command("train", "--game", "bandit", "--out", str(tmp_path / "run"), "--tracker", "trackio")
    assert found == (2, "", "error: --tracker trackio needs the package trackio: pip install -e '.[trackio]'\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("wand", "unknown tracker 'wand', expected one of none, tensorboard, trackio, wandb; did you mean 'wandb'?"),
        ("tensorboard,none", "tracker must be none or names without none, got 'tensorboard,none'"),
        ("", "unknown tracker ''"),
    ],
)
def test_an_unknown_tracker_is_refused(tracker: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_flat({"tracker": tracker})
    assert message in str(caught.value)
