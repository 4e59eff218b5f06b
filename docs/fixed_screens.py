"""Screens of `train`, `compare` and `runs`, drawn from fixed results because real runs would take too long."""

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import RenderableType

from agents.config import BudgetConfig
from agents.storage.run_summary import RunSummary
from terminal import comparison, console, runs, training

DOCS = Path(__file__).resolve().parent
WRITTEN = {"texts": "rlhf/quick/results.json", "games": "compare-coin/results.json"}
SUMMARIES = [
    RunSummary(
        folder=Path("runs/coin/actde-0"), state="finished", iterations=100, planned_iterations=100,
        best_of="eval_success", best=0.85, seconds=1834.0, env_steps=51_200, tokens=3_400_000,
        peak_memory=1_700_000_000, settings={"optimizer": "actde", "lr": 3e-4},
    ),
    RunSummary(
        folder=Path("runs/coin/ppo-0"), state="running", iterations=37, planned_iterations=100, best_of="success",
        best=0.4, seconds=702.0, env_steps=18_900, tokens=950_000, peak_memory=1_600_000_000,
        settings={"optimizer": "ppo", "lr": 1e-3},
    ),
    RunSummary(
        folder=Path("runs/bandit"), state="diverged", iterations=3, planned_iterations=300, best_of="reward",
        best=-0.25, seconds=1.5, env_steps=192, tokens=384,
        peak_memory=800_000_000, settings={"optimizer": "ppo", "lr": 10.0},
    ),
    RunSummary(folder=Path("runs/old"), state="damaged", problem="runs/old: settings.json is damaged: line 3"),
]  # fmt: skip


def train_panel() -> list[RenderableType]:
    """Return the panel that `train` shows after eight of 20 iterations, when Ctrl-C has been pressed once."""
    history = [
        {
            "iteration": number, "seconds": 11.0 * (number + 1), "env_steps": 600 * (number + 1),
            "success": number / 10, "reward": number / 8, "normalized_score": number / 8, "steps": 14.0 - number,
            "turn_entropy": 1.2 - number / 10, "value": number / 9, "approx_kl": 0.004, "eval_success": 0.5,
            "eval_success_low": 0.3, "eval_success_high": 0.7, "steps_per_second": 55.0,
        }
        for number in range(8)
    ]  # fmt: skip
    foot = [
        "stopping after this iteration; press Ctrl-C again to stop now and lose what is newer than iteration 5",
        "iteration 9, rollout: 5 of 16 episodes, 231 turns, 12,004 tokens",
    ]
    budget = BudgetConfig(iterations=20)
    return [training.panel("ppo on textworld:simple?seed=1", history, budget, console.out.width, foot)]


def compared(kind: str) -> list[RenderableType]:
    """Return the tables at the end of a comparison, from committed results."""
    rows = json.loads((DOCS / WRITTEN[kind]).read_text(encoding="utf-8"))["runs"]
    return comparison.text_tables(rows) if kind == "texts" else [comparison.results_table(rows)]


def listed() -> list[RenderableType]:
    """Return what `runs` prints: a table of runs in different states, and the message on a damaged run."""
    return [runs.table(SUMMARIES, ("optimizer", "lr"), Path("runs")), SUMMARIES[-1].problem]


FIXED: dict[str, tuple[str, Callable[[], list[RenderableType]]]] = {
    "train-panel": ("train", train_panel),
    "compare": ("compare", lambda: compared("games")),
    "compare-texts": ("compare --quick", lambda: compared("texts")),
    "runs": ("runs", listed),
}
"""Name of a picture -> tuple (command, function that returns what the command shows)."""
