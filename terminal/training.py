"""Progress of a training run: a live panel in a terminal, otherwise one line per iteration."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from agents.config import NONE, BudgetConfig, TrainConfig
from terminal import console

if TYPE_CHECKING:
    from agents.training.trainer import Trainer

# the metrics in the panel: name, label and format
SHOWN = (
    ("success", "win rate of this rollout", "{:.2f}"),
    ("recent_success", "win rate of the last 100", "{:.2f}"),
    ("level", "current level", "{:.0f}"),
    ("agreement", "labels that were likeliest", "{:.2f}"),
    ("kept", "share of episodes imitated", "{:.2f}"),
    ("reward", "reward per episode", "{:.2f}"),
    ("normalized_score", "score / maximum", "{:.2f}"),
    ("steps", "commands per episode", "{:.1f}"),
    ("bonus_share", "share of bonus commands", "{:.2f}"),
    ("turn_entropy", "entropy, nats", "{:.3f}"),
    ("value", "v", "{:.3f}"),
    ("q_value", "q of the chosen command", "{:.3f}"),
    ("advantage_abs", "|advantage|", "{:.3f}"),
    ("approx_kl", "KL to the old policy", "{:.4f}"),
    ("kl_ref", "KL to the reference", "{:.4f}"),
    ("steps_per_second", "commands per second", "{:.0f}"),
)
IN_LINE = (
    *("recent_success", "level", "agreement", "kept", "reward", "steps", "bonus_share"),
    *("turn_entropy", "value", "q_value", "approx_kl", "kl_ref"),
)
BARS = "▁▂▃▄▅▆▇█"


def clock(seconds: float) -> str:
    """Format a time as 1:02:03, or as 2:03 if it is shorter than an hour."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def share_done(metrics: Mapping[str, float], budget: BudgetConfig) -> float:
    """Return the fraction of the budget that is spent: the largest of those of iterations, commands and time."""
    by_steps = 0.0 if budget.env_steps is None else metrics["env_steps"] / budget.env_steps
    by_time = 0.0 if budget.minutes is None else metrics["seconds"] / (60 * budget.minutes)
    return min(1.0, max((metrics["iteration"] + 1) / budget.iterations, by_steps, by_time))


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return a line with a bar for each of the last `width` values, scaled to the range of these values."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    if high <= low:
        return BARS[0] * len(shown)
    return "".join(BARS[int((value - low) / (high - low) * (len(BARS) - 1))] for value in shown)


def panel(title: str, history: Sequence[Mapping[str, float]], budget: BudgetConfig) -> RenderableType:
    """Return a panel with the spent budget of a run, its latest metrics, and their history."""
    if not history:
        waiting = Text("playing the first rollout", style="dim")
        return Panel(waiting, title=Text(title), title_align="left", border_style="cyan")
    latest = history[-1]
    done = share_done(latest, budget)
    left = latest["seconds"] * (1 - done) / done
    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=1.0, completed=done, width=40, complete_style="cyan"),
        Text(f"iteration {latest['iteration'] + 1} of {budget.iterations}"),
        Text(f"{clock(latest['seconds'])} elapsed, at most {clock(left)} left", style="dim"),
    )
    columns = (Column(style="dim"), Column(justify="right", style="bold"), Column(style="cyan"))
    table = Table(*columns, box=None, show_header=False, padding=(0, 2), pad_edge=False)
    for name, label, form in SHOWN:
        values = [metrics[name] for metrics in history if name in metrics]
        if values:
            table.add_row(label, form.format(values[-1]), sparkline(values))
    return Panel(Group(head, Text(), table), title=Text(title), title_align="left", border_style="cyan")


def line(metrics: Mapping[str, float], iterations: int) -> str:
    """Format the metrics of one iteration as a line, for a file or a pipe."""
    forms = {name: form for name, _, form in SHOWN}
    numbers = "  ".join(f"{name} {forms[name].format(metrics[name])}" for name in IN_LINE if name in metrics)
    return f"{metrics['iteration'] + 1}/{iterations}  {clock(metrics['seconds'])}  {numbers}"


def follow(trainer: "Trainer", title: str, *, quiet: bool) -> dict[str, float] | None:
    """Run the training and show its progress. Return the metrics of the last iteration, or None if there was none."""
    budget, history = trainer.config.budget, list[dict[str, float]]()
    drawn = console.out.is_terminal and not quiet
    with Live(panel(title, [], budget), console=console.out) if drawn else nullcontext() as live:
        for metrics in trainer.run():
            history.append(metrics)
            if live:
                live.update(panel(title, history, budget), refresh=True)
            elif not quiet:
                console.show([line(metrics, budget.iterations)])
    return history[-1] if history else None


def configuration(config: TrainConfig, origins: Mapping[str, str]) -> list[str]:
    """Return the configuration as the lines of a file for `--config`, with the origin of each value as a comment."""
    lines: list[str] = []
    for group, table in config.model_dump().items():
        lines += ["", f"[{group}]"]
        for name, value in table.items():
            setting = f"{name} = {json.dumps(NONE if value is None else value, ensure_ascii=False)}"
            lines.append(f"{setting:45}  # {origins[name]}")
    return lines[1:]
