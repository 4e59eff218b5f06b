"""A grid of training runs, optimizers x values of one setting x seeds, each trained once and measured alike.

Runs are folders under `runs`; a run that is finished is not made again and one that was interrupted goes on,
so a grid may be made in pieces. Every finished run is measured once (measure.py). Leaves out tables and figures
(report.py).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from actde import Settings, make_optimizer
from agents import presets
from agents.protocol import AgentError
from agents.run_folder import SETTINGS, read_metrics, read_settings
from agents.settings import TrainSettings
from experiments.measure import Measures, kept, measures
from experiments.workers import begin_worker

CURVES = (
    "iteration",
    "episodes",
    "env_steps",
    "seconds",
    "success",
    "recent_success",
    "level",
    "agreement",
    "kept",
    "reward",
    "normalized_score",
    "steps",
    "bonus_share",
    "turn_entropy",
    "value",
    "q_value",
    "advantage_abs",
)
"""Metrics of every iteration that results keep, and besides the shares of strategies (`share_NAME`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a grid."""

    optimizer: str
    seed: int
    setting: str | None
    """The setting that is varied; None where none is."""
    value: float | str | None
    """Its value in this run."""

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        varied = "" if self.setting is None else f"-{self.setting}={self.value}"
        return f"{self.optimizer}{varied}-seed{self.seed}"


def cells(optimizers: Sequence[str], seeds: Sequence[int], setting: str | None, values: Sequence[Any]) -> list[Cell]:
    """All runs of a grid, seed by seed, so that an interrupted grid holds whole comparisons."""
    return [
        Cell(optimizer=optimizer, seed=seed, setting=setting, value=value)
        for seed in seeds
        for value in (values if setting else [None])
        for optimizer in optimizers
    ]


def parse_values(text: str | None) -> tuple[str | None, list[Any]]:
    """ "reward_scale=1,3,10" to the setting's name and its values; None to no setting.

    Raises:
        AgentError: the text is not of this form.
    """
    if text is None:
        return None, []
    name, _, values = text.partition("=")
    if not name or not values:
        raise AgentError(f"expected NAME=VALUE,VALUE to vary a setting, got {text!r}")
    name = name.replace("-", "_")
    kinds = {spec.name: spec.metadata["kind"] for spec in (*fields(TrainSettings), *fields(Settings))}
    return name, [_value(word, kinds.get(name)) for word in values.split(",")]


def _value(word: str, kind_of_setting: str | None) -> Any:
    """What a word says for a setting of this kind (actde/fields.py); "none" is a word only where words are chosen."""
    if kind_of_setting in ("choice", "text"):
        return word
    if kind_of_setting == "flag":
        return {"true": True, "false": False}.get(word, word)
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None if word == "none" else word


def check(wanted: Sequence[Cell], given: Mapping[str, Any]) -> None:
    """Raise at once what a run would raise later: an unknown optimizer, setting or game, or a bad value."""
    for cell in wanted:
        settings, learning = presets.resolve(_asked(cell, given))
        make_optimizer(settings.optimizer, learning)


def _asked(cell: Cell, given: Mapping[str, Any]) -> dict[str, Any]:
    asked = dict(given) | {"optimizer": cell.optimizer, "seed": cell.seed}
    return asked if cell.setting is None else asked | {cell.setting: cell.value}


def run_grid(
    wanted: Sequence[Cell],
    given: Mapping[str, Any],
    runs: Path,
    *,
    episodes: int,
    workers: int,
    on_run: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Make every run of a grid, `workers` at a time, each in a process of its own with its share of the cores.

    Args:
        on_run: told of every finished run, in the order in which they finish.

    Returns:
        What `run_cell` returns, in the order of `wanted`.
    """
    found = {cell: row for cell in wanted if (row := finished(cell, given, runs, episodes=episodes)) is not None}
    for row in found.values():
        on_run(row)
    missing = [cell for cell in wanted if cell not in found]
    if missing:
        threads = max(1, len(os.sched_getaffinity(0)) // workers)
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=begin_worker, initargs=(threads,)
        ) as pool:
            jobs = {pool.submit(run_cell, cell, dict(given), runs, episodes=episodes): cell for cell in missing}
            for job in as_completed(jobs):
                found[jobs[job]] = job.result()
                on_run(found[jobs[job]])
    return [found[cell] for cell in wanted]


def finished(cell: Cell, given: Mapping[str, Any], runs: Path, *, episodes: int) -> dict[str, Any] | None:
    """What `run_cell` would return of a run that is trained with these settings and measured; None where not."""
    settings, learning = presets.resolve(_asked(cell, given))
    folder = runs / cell.name
    if not (folder / SETTINGS).is_file():
        return None
    if read_settings(folder) != {"train": settings.to_dict(), "learning": learning.to_dict()}:
        return None
    measured = kept(folder, episodes=episodes)
    return None if measured is None else _row(cell, settings, learning, folder, measured)


def run_cell(
    cell: Cell,
    given: Mapping[str, Any],
    runs: Path,
    *,
    episodes: int,
) -> dict[str, Any]:
    """Train one run, or go on with it, and measure it.

    Args:
        given: settings of every run of the grid that are not the defaults.
        episodes: how many episodes the finished agent plays, once sampled and once greedy.

    Returns:
        The run's settings, learning curves and measures; JSON-able.
    """
    from agents.train import Trainer

    settings, learning = presets.resolve(_asked(cell, given))
    folder = runs / cell.name
    trainer = Trainer(settings, learning, folder, resume=(folder / SETTINGS).is_file())
    for _ in trainer.run():
        pass
    return _row(cell, settings, learning, folder, measures(folder, settings, learning, episodes=episodes))


def _row(cell: Cell, settings: TrainSettings, learning: Settings, folder: Path, measured: Measures) -> dict[str, Any]:
    lines = read_metrics(folder)
    shares = tuple(name for name in lines[0] if name.startswith("share_"))
    return {
        "name": cell.name,
        "optimizer": cell.optimizer,
        "seed": cell.seed,
        "setting": cell.setting,
        "value": cell.value,
        "settings": {"train": settings.to_dict(), "learning": learning.to_dict()},
        "curves": {name: [_rounded(line.get(name)) for line in lines] for name in CURVES + shares if name in lines[0]},
        **measured,
    }


def _rounded(value: float | None) -> float | None:
    """Six digits are more than a figure shows."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
