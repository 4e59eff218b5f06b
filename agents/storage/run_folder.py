"""The folder of a training run: settings, metrics and transcripts as JSON, and checkpoints to go on from.

    settings.json       what the run was asked to do, resolved
    metrics.jsonl       one line per iteration
    transcripts.jsonl   every episode (agents/play/transcript.py)
    tensorboard/        the same metrics for TensorBoard
    initial/            the agent before its first step, to compare with
    checkpoints/000010/ the newest two (agents/storage/checkpoint.py)
    .lock               held by the process that learns here

Going on from a checkpoint forgets what was written after it, so a resumed run's files are those of an
uninterrupted one. Leaves out what a checkpoint contains.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actde.errors import ConfigError
from agents.config import FIELDS, TrainConfig, flatten
from agents.play import transcript
from agents.protocol import AgentError
from agents.storage.checkpoint import FOLDER, checkpoints, read_json
from games.files import atomic_write, file_lock

SETTINGS, METRICS, INITIAL, LOCK = "settings.json", "metrics.jsonl", "initial", ".lock"
FREE = ("iterations", "env_steps", "minutes", "stop_success", "save_every")
"""Settings that may change when a run is resumed: they only say when it ends."""


class RunFolder:
    """Finds a new run's folder free, or an old run to resume; nothing is written before `begin`.

    Raises:
        AgentError: a new run in a folder that holds something, an old one that is missing, or one that was
            made by other settings.
    """

    def __init__(self, path: Path, config: TrainConfig, *, resume: bool) -> None:
        self.path, self._resume = path, resume
        self._config = config
        self._lock = file_lock(path / LOCK, process_wide=True)
        if resume:
            self._check_resumable(config)
        else:
            self._check_free()

    def claim(self) -> None:
        """Keep other processes from learning here until `release` or the end of this process.

        Two processes that append to the same files would destroy both runs: AgentError if another one holds the folder.
        """
        try:
            self._lock.acquire(blocking=False)
        except TimeoutError:
            raise AgentError(
                f"another process is learning in {self.path}; wait for it, stop it, or choose another folder"
            ) from None

    def release(self) -> None:
        """Let other processes go on with the run."""
        self._lock.release(force=True)

    def begin(self) -> None:
        """Make the folder, claim it and write the settings down."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.claim()
        if not self._resume:
            try:
                self._check_free()
            except AgentError:  # another process was faster, and its run is its own
                self.release()
                raise
        atomic_write(self.path / SETTINGS, self._config.model_dump_json(indent=1) + "\n")

    def _check_free(self) -> None:
        if self.path.exists() and (not self.path.is_dir() or any(p.name != LOCK for p in self.path.iterdir())):
            what = "already holds a run" if (self.path / SETTINGS).is_file() else "is not empty"
            raise AgentError(f"{self.path} {what}; choose another --out, or go on with it by --resume")

    def _check_resumable(self, config: TrainConfig) -> None:
        if not (self.path / SETTINGS).is_file():
            raise AgentError(f"{self.path} holds no run to resume: {SETTINGS} is missing")
        before, now = read_config(self.path).flat(), config.flat()
        for name in FIELDS:
            if name not in FREE and now[name] != before[name]:
                raise AgentError(
                    f"{self.path} was made with {name}={before[name]!r}, not {now[name]!r}; "
                    "resume with the same settings, or start another run"
                )

    def checkpoint(self, iteration: int) -> Path:
        """Where the checkpoint after so many iterations goes."""
        return self.path / FOLDER / f"{iteration:06d}"

    def prune(self) -> None:
        """Keep the two newest checkpoints."""
        for old in checkpoints(self.path)[:-2]:
            shutil.rmtree(old)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl; numbers that are not finite become null."""
        finite = {
            name: value if value == value and abs(value) != float("inf") else None for name, value in metrics.items()
        }
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")

    def forget_after(self, iteration: int) -> None:
        """Drop the lines of iterations from `iteration` on, which will be made again."""
        for name in (METRICS, transcript.NAME):
            path = self.path / name
            if path.is_file():
                atomic_write(path, "".join(_lines_before(path, iteration)))


def read_config(path: Path) -> TrainConfig:
    """The configuration of the run in a folder; AgentError for a damaged one."""
    try:
        return TrainConfig.from_flat(flatten(read_json(path / SETTINGS)))
    except ConfigError as error:
        raise AgentError(f"{path / SETTINGS} is damaged: {error}") from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics; AgentError for a damaged one."""
    lines = []
    for number, line in enumerate((path / METRICS).read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise AgentError(f"{path / METRICS}, line {number} is damaged: {error}") from None
    return lines


def _lines_before(path: Path, iteration: int) -> Iterator[str]:
    """Whole lines of earlier iterations; a last line that an interruption cut short is dropped."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.endswith(b"\n") and json.loads(line)["iteration"] < iteration:
                    yield line.decode()
            except (ValueError, TypeError, KeyError):
                raise AgentError(f"{path}, line {number} is damaged; repair or remove it to resume") from None
