"""Summaries of training runs: state, best result and cost."""

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
from agents.storage.run_folder import DIVERGED, METRICS, SETTINGS, read_config, read_metrics
from games.errors import GameError
from games.files import LOCK, is_locked
from games.game_strings import AND, our_name
from games.untrusted_files import is_present

State = Literal["running", "finished", "stopped", "diverged", "damaged"]
Rows = Sequence[Mapping[str, Any]]
# metrics by which runs are ranked. A run is ranked by the first of them that it has.
BEST = ("eval_success", "success", "eval_reward", "reward")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Summary of a run. Unknown values are None.

    Attributes:
        problem: what is damaged, or "".
        best_of: metric by which the run is ranked. `best` is its largest value.
        peak_memory: largest memory of a process, in bytes.
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
    """Yield the folders of all runs at or below `folder`. Hidden folders are skipped."""
    if not folder.is_dir():
        raise AgentError(f"{folder} is no folder; expected one that contains runs of train or compare")
    for path, folders, files in os.walk(folder):
        if SETTINGS in files:
            folders.clear()
            yield Path(path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def summarize(folder: Path) -> RunSummary:
    try:
        config, rows = read_config(folder), read_metrics(folder, METRICS, cut=True)
        best_of, best = _best(rows, config.run.game)
        last: Mapping[str, Any] = rows[-1] if rows else {"seconds": 0.0, "env_steps": 0}
        return RunSummary(
            folder=folder,
            state=_state(folder, config, rows),
            iterations=len(rows),
            planned_iterations=config.budget.iterations,
            best_of=best_of,
            best=best,
            seconds=last.get("seconds"),
            env_steps=last.get("env_steps"),
            tokens=_tokens(rows),
            peak_memory=max(_values(rows, "peak_memory"), default=None),
            settings=config.flat(),
        )
    except (AgentError, GameError) as error:
        return RunSummary(folder=folder, state="damaged", problem=str(error))


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings that differ. `settings` has one mapping per run."""
    return [name for name in settings[0] if len({str(each[name]) for each in settings}) > 1] if settings else []


def usual(settings: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Return the settings in `names` that have the same value in most runs."""
    found: dict[str, Any] = {}
    for name in names if settings else ():
        ((text, count),) = Counter(str(each[name]) for each in settings).most_common(1)
        if 2 * count > len(settings):
            found[name] = next(each[name] for each in settings if str(each[name]) == text)
    return found


def ranked(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Sort runs by metric, in the order of `BEST`, and then by value, highest first."""

    def place(run: RunSummary) -> tuple[int, float, str]:
        kind = len(BEST) if run.best_of is None else BEST.index(run.best_of)
        return kind, -(run.best or 0.0), str(run.folder)

    return sorted(runs, key=place)


def _state(folder: Path, config: TrainConfig, rows: Rows) -> State:
    if is_locked(folder / LOCK):
        return "running"
    if is_present(folder / DIVERGED):
        return "diverged"
    last = rows[-1] if rows else {}
    success = (last.get("recent_success") or 0.0) if (last.get("episodes") or 0) >= RECENT else 0.0
    limit = config.budget.reached(
        iterations=len(rows),
        env_steps=last.get("env_steps") or 0,
        minutes=(last.get("seconds") or 0.0) / 60,
        stop_success=success,
    )
    return "finished" if limit else "stopped"


def _best(rows: Rows, game: str) -> tuple[str | None, float | None]:
    enough = [row for row in rows if (row.get("episodes") or 0) >= RECENT] or rows[-1:]
    recent = _values(enough, "recent_success")
    with_wins = not {our_name(part.strip().partition("?")[0]) for part in game.split(AND)} <= WITHOUT_WINS
    can_be_won = any(recent) or (with_wins and bool(_values(rows, "normalized_score")))
    found = {
        "eval_success": _values(rows, "eval_success"),
        "success": recent if can_be_won else [],
        "eval_reward": _values(rows, "eval_reward"),
        "reward": _values(rows, "reward"),
    }
    return next(((name, max(found[name])) for name in BEST if found[name]), (None, None))


def _tokens(rows: Rows) -> int | None:
    names = ("tokens_per_second", "rollout_seconds", "update_seconds")
    known = [row for row in rows if all(row.get(name) is not None for name in names)]
    numbers = [row["tokens_per_second"] * (row["rollout_seconds"] + row["update_seconds"]) for row in known]
    return round(sum(numbers)) if numbers else None


def _values(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows if row.get(name) is not None]
