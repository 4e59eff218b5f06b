"""Logs runs to experiment trackers: TensorBoard, Weights & Biases and Trackio."""

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from agents.config import TrainConfig
from agents.config_groups import tracker_names
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError
from agents.storage.run_folder import TENSORBOARD, RunFolder
from games.errors import add_path_to_errors, first_line

PROJECT = "actde"  # the project of all runs in Weights & Biases and Trackio
TABLE = "transcripts"
COLUMNS = ["episode", "game", "seed", "won", "score", "reward", "turns", "text"]


def check_installed(config: TrainConfig) -> None:
    for name in tracker_names(config.run.tracker):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise AgentError(f"--tracker {name} needs the package {name}: pip install -e '.[{name}]'")


def make_trackers(config: TrainConfig, run: Path) -> list[Any]:
    common: dict[str, Any] = {"name": str(run), "config": config.flat()}
    arguments: dict[str, tuple[str, dict[str, Any]]] = {
        "tensorboard": (TENSORBOARD, {"logging_dir": str(run)}),
        # without `console`, wandb replaces standard output, which the progress of a training is drawn on
        "wandb": (PROJECT, common | {"dir": str(run), "settings": {"console": "off"}}),
        "trackio": (PROJECT, common | {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}),
    }
    selected = ((name, *arguments[name]) for name in tracker_names(config.run.tracker))
    return [LOGGER_TYPE_TO_CLASS[name](project, **keywords) for name, project, keywords in selected]


def start(accelerator: Accelerator, folder: RunFolder) -> None:
    """Start the trackers. If a tracker cannot start, delete the files of a new run."""
    try:
        with _one_line_errors(folder.path):
            accelerator.init_trackers(PROJECT)
    except BaseException:
        folder.discard()
        raise


def log(accelerator: Accelerator, run: Path, metrics: Metrics, episodes: Sequence[Episode] = ()) -> None:
    """Record the metrics of an iteration. Trackers with tables also record the episodes."""
    step = metrics["iteration"]
    with _one_line_errors(run):
        accelerator.log({name: value for name, value in metrics.items() if name != "iteration"}, step=step)
        for tracker in accelerator.trackers if episodes else ():
            rows = [_row(episode) for episode in episodes]
            if tracker.name == "trackio":
                import trackio

                tracker.log({TABLE: trackio.Table(columns=COLUMNS, data=rows)}, step=step)
            elif hasattr(tracker, "log_table"):
                tracker.log_table(TABLE, columns=COLUMNS, data=rows, step=step)


def finish(accelerator: Accelerator, run: Path) -> None:
    """Close the trackers, and then end the process group."""
    with _one_line_errors(run):
        if accelerator.is_main_process and any(tracker.name == "trackio" for tracker in accelerator.trackers):
            import trackio

            trackio.finish()  # otherwise, it prints to standard output when the process ends
        accelerator.end_training()


def _row(episode: Episode) -> list[Any]:
    turns = [f"{step.observation}\n> {step.decision.command}" for step in episode.steps]
    text = "\n".join([*turns, episode.final_observation])
    return [episode.index, episode.game, episode.seed, episode.won, episode.score, episode.reward, len(turns), text]


@contextmanager
def _one_line_errors(run: Path) -> Iterator[None]:
    """Convert errors of trackers to `AgentError`, and redirect standard output to standard error."""
    try:
        with add_path_to_errors(run / TENSORBOARD), redirect_stdout(sys.stderr):
            yield
    except _tracker_errors() as error:
        name = type(error).__module__.partition(".")[0]
        raise AgentError(f"the tracker failed ({name}): {first_line(error)}; another --tracker may work") from error


def _tracker_errors() -> tuple[type[Exception], ...]:
    wandb = sys.modules.get("wandb")
    # Trackio stores metrics in SQLite
    return (sqlite3.Error, *([wandb.Error] if wandb else []))
