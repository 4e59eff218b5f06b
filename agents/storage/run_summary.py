"""Summaries of training runs: state, best result and cost.

The files of a run are untrusted. If one of them is damaged, the summary states the problem, and no error is raised.
"""

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
    """Summary of a run. Unknown values are None. If a run is damaged, only folder, state and problem are known.

    Attributes:
        problem: what is damaged, or "".
        iterations: number of finished iterations.
        planned_iterations: value of the setting `iterations`.
        best_of: name of the metric by which the run is ranked (see `BEST`). "success" is the win rate over the last 100
            episodes. "reward" is the mean return of a rollout's episodes.
        best: largest value of this metric.
        seconds, env_steps, tokens: duration, number of commands and number of tokens of all iterations.
        peak_memory: largest memory of a process, in bytes.
        settings: all settings by name.
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
    """Yield the folders of all runs at or below `folder`. Hidden folders are skipped.

    Raise `AgentError` if `folder` is not a folder.
    """
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
    """Return the names of the settings whose values differ. `settings` holds all settings of each run."""
    return [name for name in settings[0] if len({str(each[name]) for each in settings}) > 1] if settings else []


def usual(settings: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Return a dict of the settings in `names` whose value is the same in more than half of the runs."""
    found: dict[str, Any] = {}
    for name in names if settings else ():
        ((text, count),) = Counter(str(each[name]) for each in settings).most_common(1)
        if 2 * count > len(settings):
            found[name] = next(each[name] for each in settings if str(each[name]) == text)
    return found


def ranked(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Sort runs by their metric, in the order of `BEST`, and then by its value, highest first.

    Runs without a result are last.
    """

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
    """Return the name of the metric by which a run of `game` is ranked, and the largest value of this metric.

    The metric is the first one of `BEST` that the run has. For the win rate over recent episodes, rows with fewer than
    `RECENT` episodes are ignored. If all rows have fewer, the last row counts.
    """
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
    """Return the number of tokens, computed from the speed and the duration of each iteration.

    Return None if no row has both.
    """
    names = ("tokens_per_second", "rollout_seconds", "update_seconds")
    known = [row for row in rows if all(row.get(name) is not None for name in names)]
    numbers = [row["tokens_per_second"] * (row["rollout_seconds"] + row["update_seconds"]) for row in known]
    return round(sum(numbers)) if numbers else None


def _values(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows if row.get(name) is not None]
