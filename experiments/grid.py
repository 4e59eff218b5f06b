"""A grid of training runs, optimizers x values of one setting x seeds, each trained once and measured alike.

Runs are folders under `runs`; a run that is finished is not made again and one that was interrupted goes on,
so a grid may be made in pieces. Every finished run is played by its own agent, sampled and greedy, on the
same games and seeds. Leaves out tables and figures (report.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import games
from agents import presets
from agents.checkpoint import load_agent
from agents.evaluate import evaluate
from agents.run_folder import SETTINGS, read_metrics
from agents.train import Trainer

CURVES = (
    "iteration",
    "episodes",
    "env_steps",
    "seconds",
    "success",
    "recent_success",
    "reward",
    "normalized_score",
    "steps",
    "turn_entropy",
    "value",
    "q_value",
    "advantage_abs",
)
"""Metrics of every iteration that results keep."""


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


def run_cell(
    cell: Cell,
    given: Mapping[str, Any],
    runs: Path,
    *,
    episodes: int,
    on_iteration: Callable[[Cell, Mapping[str, float]], None],
) -> dict[str, Any]:
    """Train one run, or go on with it, and measure it.

    Args:
        given: settings of every run of the grid that are not the defaults.
        episodes: how many episodes the finished agent plays, once sampled and once greedy.
        on_iteration: told of every iteration.

    Returns:
        The run's settings, learning curves and evaluations; JSON-able.
    """
    asked = dict(given) | {"optimizer": cell.optimizer, "seed": cell.seed}
    if cell.setting is not None:
        asked[cell.setting] = cell.value
    settings, learning = presets.resolve(asked)
    folder = runs / cell.name
    trainer = Trainer(settings, learning, folder, resume=(folder / SETTINGS).is_file())
    for metrics in trainer.run():
        on_iteration(cell, metrics)
    curves = read_metrics(folder)
    specs = games.resolve(settings.game)
    measured = {}
    for how, greedy in (("sampled", False), ("greedy", True)):
        agent = load_agent(folder, seed=10_000 + cell.seed, greedy=greedy)
        row = evaluate(
            agent,
            specs,
            game=settings.game,
            episodes=episodes,
            seed=10_000 + cell.seed,
            parallel=settings.parallel,
            max_turns=settings.max_turns,
        )
        measured[how] = row.to_json()
    return {
        "name": cell.name,
        "optimizer": cell.optimizer,
        "seed": cell.seed,
        "setting": cell.setting,
        "value": cell.value,
        "settings": {"train": settings.to_dict(), "learning": learning.to_dict()},
        "curves": {name: [_rounded(line.get(name)) for line in curves] for name in CURVES if name in curves[0]},
        "evaluation": measured,
    }


def _rounded(value: float | None) -> float | None:
    """Six digits are more than a figure shows."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
