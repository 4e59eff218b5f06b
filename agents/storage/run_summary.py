"""Summaries of training runs."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents.config import TrainConfig
from agents.play.episode import WITHOUT_WINS
from agents.play.metrics import RECENT
from agents.protocol import AgentError
from agents.storage.checkpoint_files import checkpoints
from agents.storage.run_folder import DIVERGED, METRICS, SETTINGS, read_config, read_metrics
from games.errors import GameError
from games.files import LOCK, is_locked
from games.game_strings import AND, built_in_name
from games.untrusted_files import is_present

State = Literal["running", "finished", "stopped", "diverged", "damaged"]
Rows = Sequence[Mapping[str, Any]]
# metrics by which runs are ranked. A run is ranked by the first of them that it has.
BEST = ("eval_success", "success", "eval_reward", "reward")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Summary of a run. Unknown values are None.

    Attributes:
        problem: error message of a damaged run, or "".
        best_of: name of the metric that ranks the run.
        best: largest value of the metric `best_of`.
        peak_memory: peak memory of one process, in bytes.
    """

    folder: Path
    state: State
    problem: str = ""
    iterations: int | None = None
    planned_iterations: int | None = None
    best_of: str | None = None
    best: float | None = None
    seconds: float | None = None
    env_steps: int | None = None
    tokens: int | None = None
    peak_memory: int | None = None
    settings: Mapping[str, Any] | None = None


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the folders of all runs at or below `folder`. Skip hidden folders."""
    if not folder.is_dir():
        raise AgentError(f"{folder} is no folder; expected one that contains runs of train or compare")
    for path, folders, files in os.walk(folder):
        if SETTINGS in files:
            folders.clear()
            yield Path(path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def summarize(folder: Path) -> RunSummary:
    try:
        config, rows = read_config(folder), read_metrics(folder, METRICS, allow_incomplete=True)
        best_of, best = _best(rows, config.run.game)
        state = _state(folder, config, rows)
        trained = max((int(path.name) for path in checkpoints(folder) if path.name.isdecimal()), default=0)
        if state != "running" and trained > len(rows):
            raise AgentError(
                f"{folder / METRICS} is damaged: it holds {len(rows)} iterations, but the checkpoint has {trained}"
            )
        last_row: Mapping[str, Any] = rows[-1] if rows else {"seconds": 0.0, "env_steps": 0}
        return RunSummary(
            folder=folder,
            state=state,
            iterations=len(rows),
            planned_iterations=config.budget.iterations,
            best_of=best_of,
            best=best,
            seconds=last_row.get("seconds"),
            env_steps=last_row.get("env_steps"),
            tokens=_tokens(rows),
            peak_memory=max(_values(rows, "peak_memory"), default=None),
            settings=config.flat(),
        )
    except (AgentError, GameError) as error:
        return RunSummary(folder=folder, state="damaged", problem=str(error))


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings that differ between runs. `settings` has one entry per run."""
    return [name for name in settings[0] if len({str(run[name]) for run in settings}) > 1] if settings else []


def most_common_settings(settings: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Return a dict: setting in `names` -> value in more than half of the runs."""
    common: dict[str, Any] = {}
    for name in names if settings else ():
        ((text, count),) = Counter(str(run[name]) for run in settings).most_common(1)
        if 2 * count > len(settings):
            common[name] = next(run[name] for run in settings if str(run[name]) == text)
    return common


def ranked(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Return the runs, best first. Runs with different metrics are ranked separately."""

    def rank(run: RunSummary) -> tuple[int, float, str]:
        metric_index = len(BEST) if run.best_of is None else BEST.index(run.best_of)
        return metric_index, -(run.best or 0.0), str(run.folder)

    return sorted(runs, key=rank)


def _state(folder: Path, config: TrainConfig, rows: Rows) -> State:
    if is_locked(folder / LOCK):
        return "running"
    if is_present(folder / DIVERGED):
        return "diverged"
    last_row = rows[-1] if rows else {}
    success = (last_row.get("recent_success") or 0.0) if (last_row.get("episodes") or 0) >= RECENT else 0.0
    reached_limit = config.budget.reached(
        iterations=len(rows),
        env_steps=last_row.get("env_steps") or 0,
        minutes=(last_row.get("seconds") or 0.0) / 60,
        stop_success=success,
    )
    return "finished" if reached_limit else "stopped"


def _best(rows: Rows, game: str) -> tuple[str | None, float | None]:
    reliable_rows = [row for row in rows if (row.get("episodes") or 0) >= RECENT] or rows[-1:]
    recent_success = _values(reliable_rows, "recent_success")
    has_wins = not {built_in_name(part.strip().partition("?")[0]) for part in game.split(AND)} <= WITHOUT_WINS
    can_be_won = any(recent_success) or (has_wins and bool(_values(rows, "normalized_score")))
    values = {
        "eval_success": _values(rows, "eval_success"),
        "success": recent_success if can_be_won else [],
        "eval_reward": _values(rows, "eval_reward"),
        "reward": _values(rows, "reward"),
    }
    return next(((name, max(values[name])) for name in BEST if values[name]), (None, None))


def _tokens(rows: Rows) -> int | None:
    names = ("tokens_per_second", "rollout_seconds", "update_seconds")
    timed_rows = [row for row in rows if all(row.get(name) is not None for name in names)]
    token_counts = [row["tokens_per_second"] * (row["rollout_seconds"] + row["update_seconds"]) for row in timed_rows]
    return round(sum(token_counts)) if token_counts else None


def _values(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows if row.get(name) is not None]
