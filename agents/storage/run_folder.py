"""The folder of a training run."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actde.config import format_value, option
from actde.errors import ConfigError, OptimizerError
from agents.config import TrainConfig, flatten
from agents.play import transcript
from agents.play.iteration_log import LogLine, checked_lines, read_log
from agents.protocol import AgentError
from agents.storage.checkpoint_files import BEST, FOLDER, INITIAL, read_json
from games.errors import noticing_changes
from games.files import (
    LOCK,
    append_rows,
    atomic_write,
    create_folder,
    file_lock,
    is_temporary,
    json_lines,
    remove_dead_scratch_folders,
    remove_leftovers,
    sync,
)
from games.untrusted_files import is_present

SETTINGS, METRICS, PROBES, DATA = "settings.json", "metrics.jsonl", "probes.jsonl", "data.jsonl"
TENSORBOARD, WANDB, DIVERGED = "tensorboard", "wandb", "diverged.json"
EXPECTED = f"expected a folder that `train --out` has written, with {SETTINGS} in it"
# settings that `resume` may change
CHANGEABLE = {"imports", "iterations", "env_steps", "minutes", "stop_success", "save_every", "step_seconds", "tracker"}


class ProcessesError(AgentError):
    """A checkpoint's episodes cannot be divided among the current processes."""


class RunFolder:
    """The folder of a new or resumed run. The constructor only checks the folder."""

    def __init__(self, path: Path, config: TrainConfig, *, resume: bool) -> None:
        self.path, self._config, self._resume = path, config, resume
        self._lock = file_lock(path / LOCK, process_wide=True)
        if not resume:
            self._check_free()
        elif not (path / SETTINGS).is_file():
            raise AgentError(f"{path} holds no run to resume: {EXPECTED}")
        elif changed := changed_setting(path, config):
            raise AgentError(f"{changed}; resume with the same settings, or start another run")

    def lock(self) -> None:
        """Lock the folder, and delete temporary files of killed processes.

        Raise AgentError if the folder is already locked.
        """
        try:
            self._lock.acquire(blocking=False)
        except TimeoutError:
            message = f"another process is training in {self.path}; wait for it, stop it, or choose another folder"
            raise AgentError(message) from None
        for folder in (self.path, self.path / FOLDER):
            remove_leftovers(folder)
        remove_dead_scratch_folders()

    def unlock(self) -> None:
        self._lock.release(force=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Unlock the folder at the end of the block."""
        try:
            with noticing_changes(self.path):
                yield
        finally:
            self.unlock()

    def create(self) -> None:
        """Create and lock the folder, and write the settings. The caller must call `unlock`."""
        create_folder(self.path)
        self.lock()
        if not self._resume:  # another process may have created a run since the constructor
            self._check_free()
        atomic_write(self.path / SETTINGS, self._config.model_dump_json(indent=1) + "\n")
        (self.path / DIVERGED).unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the files of a new run. Do nothing for a resumed run."""
        if self._resume:
            return
        for name in (TENSORBOARD, WANDB, INITIAL, BEST, FOLDER):
            shutil.rmtree(self.path / name, ignore_errors=True)
        # the settings are last, because no run can be resumed without them
        for name in (METRICS, transcript.NAME, PROBES, DATA, DIVERGED, SETTINGS):
            (self.path / name).unlink(missing_ok=True)

    def _check_free(self) -> None:
        # a process that was killed before it wrote the settings leaves only the lock and temporary files
        if not self.path.exists() or (
            self.path.is_dir() and all(file.name == LOCK or is_temporary(file) for file in self.path.iterdir())
        ):
            return
        if (self.path / SETTINGS).is_file():
            raise AgentError(f"{self.path} already holds a run; choose another --out, or continue it with --resume")
        obstacle = "not empty" if self.path.is_dir() else "a file"
        raise AgentError(f"{self.path} is {obstacle}; choose a new folder as --out")

    def checkpoint(self, iteration: int) -> Path:
        return self.path / FOLDER / f"{iteration:06d}"

    def sync(self) -> None:
        """Flush the logs to disk. Call `sync` before saving a checkpoint."""
        for name in (METRICS, transcript.NAME, PROBES):
            if (self.path / name).is_file():
                sync(self.path / name)

    def all_checkpoints(self) -> list[Path]:
        """Return the run's checkpoints, newest first, including damaged checkpoints."""
        return sorted((self.path / FOLDER).glob("[0-9]*"), reverse=True)

    def load_newest(self, folders: Sequence[Path], load: Callable[[Path], None]) -> dict[Path, str]:
        """Call `load` with one folder after another until a call succeeds.

        Return a dict: damaged folder -> error message.
        """
        errors: dict[Path, str] = {}
        for folder in folders:
            try:
                load(folder)
            except ProcessesError:
                raise
            except (AgentError, OptimizerError) as error:
                errors[folder] = str(error)
            else:
                return errors
        if errors:
            raise AgentError(next(iter(errors.values())))
        return errors

    def set_aside(self, errors: Mapping[Path, str]) -> list[str]:
        """Rename the damaged checkpoints in `errors`. Return one message per checkpoint."""
        messages = []
        for folder, error in errors.items():
            target = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(target, ignore_errors=True)  # an earlier copy of the same checkpoint
            folder.rename(target)
            messages.append(f"{error}; the checkpoint is kept as {target}, and the run continues from the one before")
        return messages

    def prune(self) -> None:
        """Delete all checkpoints except the two newest."""
        for old in self.all_checkpoints()[2:]:
            shutil.rmtree(old)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl. NaN and infinity become null."""
        _append(self.path / METRICS, metrics)

    def log_probe(self, iteration: int, row: Mapping[str, Any]) -> None:
        _append(self.path / PROBES, {"iteration": iteration, **row})

    def log_divergence(self, iteration: int, error: str) -> None:
        """Record that the training diverged. `iteration` counts from 1."""
        atomic_write(self.path / DIVERGED, json_lines([{"iteration": iteration, "error": error}]))

    def has_probe(self, iteration: int) -> bool:
        return (path := self.path / PROBES).is_file() and any(line.iteration == iteration for line in read_log(path))

    def truncate(self, iteration: int, totals: Mapping[str, float]) -> None:
        """Delete all log lines after the first `iteration` iterations.

        Raise AgentError if the last remaining line of metrics differs from `totals`.
        """
        # iterations are counted from 0, but a probe is named by the number of finished iterations
        metrics = _lines_before(self.path / METRICS, iteration, lines_per_iteration=1)
        logs = {METRICS: metrics}
        if self._config.rollout.own_episodes:
            logs[transcript.NAME] = _lines_before(self.path / transcript.NAME, iteration)
        if is_present(probes := self.path / PROBES):
            logs[PROBES] = [line for line in read_log(probes, allow_incomplete=True) if line.iteration <= iteration]
        for name, total in totals.items() if metrics else ():
            if (logged_total := metrics[-1].row.get(name)) != total:
                raise AgentError(
                    f"{metrics[-1].location} has {name} {logged_total!r:.60}, but the checkpoint has {total}: one of "
                    f"them is damaged; use other copies, or start a new run with --init {self.path}"
                )
        for name, lines in logs.items():
            if (self.path / name).exists():
                atomic_write(self.path / name, "".join(line.text for line in lines))


def read_config(path: Path) -> TrainConfig:
    """Read the configuration of a run. Raise AgentError if the settings file is missing or damaged."""
    if not is_present(path / SETTINGS):
        raise AgentError(f"{path} holds no run: {EXPECTED}")
    return parse_config(read_json(path / SETTINGS), path / SETTINGS)


def parse_config(groups: Mapping[str, Any], source: Path) -> TrainConfig:
    """Parse the content of a settings file. `source` names the file in error messages."""
    try:
        return TrainConfig.from_flat(flatten(groups))
    except ConfigError as error:
        raise AgentError(f"{source} is damaged: {error}") from None


def changed_setting(path: Path, config: TrainConfig) -> str | None:
    """Return an error message if `config` changes a setting that a resumed run must keep."""
    stored = read_config(path).flat()
    for name, value in config.flat().items():
        if name not in CHANGEABLE and value != stored[name]:
            return f"{path} was made with {option(name)} {format_value(stored[name])}, not {format_value(value)}"
    return None


def read_metrics(path: Path, name: str = METRICS, *, allow_incomplete: bool = False) -> list[dict[str, Any]]:
    """Return one dict per line of a run's metrics or probes.

    Raise `AgentError` if the file is missing, empty or damaged. `allow_incomplete` allows a missing or empty file and
    an incomplete last line.
    """
    if allow_incomplete and not is_present(path / name):
        return []
    lines = read_log(path / name, allow_incomplete=allow_incomplete)
    if name == METRICS:
        lines = checked_lines(lines, path / name, lines_per_iteration=1)
    log_lines = list(lines)
    for line in log_lines if name == METRICS else ():
        for key, value in line.row.items():
            if value is not None and type(value) not in (int, float):
                raise AgentError(f"{line.location} is damaged: {key} is {value!r:.60}, expected a number")
    if not log_lines and not allow_incomplete:
        raise AgentError(f"{path / name} has no lines: the run has recorded nothing yet, or the file is damaged")
    return [line.row for line in log_lines]


def _append(path: Path, row: Mapping[str, Any]) -> None:
    finite = {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in row.items()}
    append_rows(path, [finite])


def _lines_before(path: Path, iterations: int, *, lines_per_iteration: int | None = None) -> list[LogLine]:
    if not is_present(path):
        if not iterations:
            return []
        raise AgentError(f"{path} is missing: restore the file, or start a new run with --init {path.parent}")
    earlier_lines = (line for line in read_log(path, allow_incomplete=True) if line.iteration < iterations)
    lines = list(checked_lines(earlier_lines, path, lines_per_iteration=lines_per_iteration))
    if (count := lines[-1].iteration + 1 if lines else 0) != iterations:
        raise AgentError(
            f"{path} is damaged: it holds {count} iterations, but the checkpoint has {iterations}; restore the file, "
            f"or start a new run with --init {path.parent}"
        )
    return lines
