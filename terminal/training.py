"""Show the progress of training as a live panel or as one line per iteration."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from agents.config import BudgetConfig, TrainConfig
from terminal import console
from terminal.options import play_command, resume_command

if TYPE_CHECKING:
    from agents.training.trainer import Trainer

# the metrics in the panel: name, label and format
PANEL_METRICS = (
    ("eval_success", "held-out win rate", "{:z.2f}"),
    ("eval_reward", "held-out reward", "{:z.2f}"),
    ("success", "win rate of this rollout", "{:z.2f}"),
    ("recent_success", "win rate of the last 100", "{:z.2f}"),
    ("success_with_expert", "win rate with the expert", "{:z.2f}"),
    ("level", "current level", "{:z.0f}"),
    ("agreement", "labels that were likeliest", "{:z.2f}"),
    ("data_agreement", "recorded tokens that were likeliest", "{:z.2f}"),
    ("kept", "share of episodes imitated", "{:z.2f}"),
    ("buffer_size", "episodes in the buffer", "{:z.0f}"),
    ("reward", "reward per episode", "{:z.2f}"),
    ("normalized_score", "score / maximum", "{:z.2f}"),
    ("steps", "commands per episode", "{:z.1f}"),
    ("errors", "failed episodes", "{:z.0f}"),
    ("bonus_share", "share of bonus commands", "{:z.2f}"),
    ("turn_entropy", "entropy, nats", "{:z.3f}"),
    ("entropy", "entropy per token, nats", "{:z.3f}"),
    ("value", "v", "{:z.3f}"),
    ("q_value", "q of the chosen command", "{:z.3f}"),
    ("advantage_abs", "|advantage|", "{:z.3f}"),
    ("approx_kl", "KL to the old policy", "{:z.4f}"),
    ("kl_ref", "KL to the reference", "{:z.4f}"),
    ("steps_per_second", "commands per second", "{:z.0f}"),
)
LINE_METRICS = (
    *("initial_eval_success", "initial_eval_reward", "eval_success", "eval_reward"),
    *("recent_success", "success_with_expert", "level", "agreement", "data_agreement", "kept"),
    *("reward", "steps", "errors", "bonus_share"),
    *("turn_entropy", "entropy", "value", "q_value", "approx_kl", "kl_ref"),
)
TEXT_METRICS = frozenset({"entropy"})
TURN_GAME_METRICS = frozenset({"success", "recent_success", "normalized_score", "steps", "turn_entropy"})
WIN_METRICS = frozenset({"success", "recent_success"})
SEVERAL_STEP_METRICS = frozenset({"approx_kl"})  # measured before each gradient step
BARS = "▁▂▃▄▅▆▇█"
TEXT_WIDTH = 48  # the width of the panel without the bars


def clock(seconds: float) -> str:
    """Format seconds as 2:03, or as 1:02:03 from one hour on."""
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{remainder:02d}" if minutes >= 60 else f"{minutes}:{remainder:02d}"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a bar character for each of the last `width` values."""
    last_values = values[-max(1, width) :]
    low, high = min(last_values), max(last_values)
    if high <= low:
        return BARS[0] * len(last_values)
    return "".join(BARS[int((value - low) / (high - low) * (len(BARS) - 1))] for value in last_values)


def displayed_metrics(
    metrics: Mapping[str, float], *, texts: bool, one_step: bool = False, history: Sequence[Mapping[str, float]] = ()
) -> dict[str, float]:
    """Select metrics to display. `texts`: episodes are single texts. `one_step`: updates are single gradient steps."""
    winnable = "normalized_score" in metrics or any(metrics.get(name) for name in WIN_METRICS)
    winnable = winnable or any(not WIN_METRICS.isdisjoint(row) for row in history)
    hidden = (TURN_GAME_METRICS if texts else TEXT_METRICS) | (frozenset() if winnable else WIN_METRICS)
    hidden |= SEVERAL_STEP_METRICS if one_step else frozenset()
    return {name: value for name, value in metrics.items() if name not in hidden}


def panel(
    title: str, history: Sequence[Mapping[str, float]], budget: BudgetConfig, width: int, foot_lines: Sequence[str] = ()
) -> RenderableType:
    """Return a panel with the progress and metric history of a run."""
    foot_texts = [Text(line, style="dim" if line is foot_lines[-1] else "bold yellow") for line in foot_lines]
    if not history:
        return Panel(Group(*foot_texts), title=Text(title), title_align="left", border_style="cyan")
    latest = history[-1]
    by_steps = 0.0 if budget.env_steps is None else latest["env_steps"] / budget.env_steps
    by_time = 0.0 if budget.minutes is None else latest["seconds"] / (60 * budget.minutes)
    progress = min(1.0, max((latest["iteration"] + 1) / budget.iterations, by_steps, by_time))
    remaining = latest["seconds"] * (1 - progress) / progress
    header = Table.grid(Column(max_width=40), Column(no_wrap=True), padding=(0, 2))
    bar = ProgressBar(total=1.0, completed=progress, complete_style="cyan")
    header.add_row(bar, f"iteration {latest['iteration'] + 1} of {budget.iterations}")
    times = Text(f"{clock(latest['seconds'])} elapsed, at most {clock(remaining)} left", style="dim")
    columns = (Column(style="dim"), Column(justify="right", style="bold"), Column(style="cyan"))
    table = Table(*columns, box=None, show_header=False, padding=(0, 2), pad_edge=False)
    for name, label, form in PANEL_METRICS:
        if measured := [metrics for metrics in history if name in metrics]:
            bars = sparkline([metrics[name] for metrics in measured], min(40, width - TEXT_WIDTH))
            table.add_row(label, with_interval(measured[-1], name, form), bars)
    content = Group(header, times, Text(), table, *foot_texts)
    return Panel(content, title=Text(title), title_align="left", border_style="cyan")


def line(metrics: Mapping[str, float], iterations: int) -> str:
    """Format the metrics of one iteration as a line."""
    forms = {name: form for name, _, form in PANEL_METRICS}
    parts = {name: with_interval(metrics, name, forms[name.removeprefix("initial_")]) for name in LINE_METRICS}
    numbers = "  ".join(f"{name} {part}" for name, part in parts.items() if part)
    return f"{metrics['iteration'] + 1}/{iterations}  {clock(metrics['seconds'])}  {numbers}"


def with_interval(metrics: Mapping[str, float], name: str, form: str) -> str:
    if name not in metrics:
        return ""
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    ends = "" if low is None else f" ({form.format(low)} to {form.format(high)})"
    if name == "steps_per_second" and metrics[name] < 10:  # commands that are long texts take seconds
        form = "{:z.2g}"
    return form.format(metrics[name]) + ends


def run(
    settings: TrainConfig, folder: Path, *, resume: bool, origins: Mapping[str, str], quiet: bool
) -> tuple["Trainer", dict[str, float] | None]:
    """Build the trainer and train. Return a tuple (trainer, metrics of the last iteration)."""
    from agents.training.factory import make_trainer

    several_processes = int(os.environ.get("WORLD_SIZE", "1")) > 1
    trainer: Trainer | None = None
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        # several processes must stop at the same point, so they finish the setup
        if trainer.stopping if trainer else not several_processes:
            raise KeyboardInterrupt
        interrupted = True
        if trainer:
            trainer.stopping = True
        console.note_after_interrupt("stopping after the setup; press Ctrl-C again to stop now")

    with console.without_control_echo() if console.out.is_terminal else nullcontext():
        try:
            with console.on_first_interrupt(stop):
                with console.waiting("setting up", lines=not quiet):
                    trainer = make_trainer(settings, folder, resume=resume)
                if interrupted:  # assigned only then, because `stop` may set `trainer.stopping` at any time
                    trainer.stopping = True
                for text in notes(trainer, origins):
                    console.note(text)
                return trainer, follow(trainer, f"{settings.run.optimizer} on {settings.run.game}", quiet=quiet)
        except KeyboardInterrupt:
            console.note_after_interrupt(stopped_line(settings, folder))
            raise typer.Exit(130) from None


def follow(trainer: "Trainer", title: str, *, quiet: bool) -> dict[str, float] | None:
    """Train and show progress. Return the metrics of the last iteration."""
    budget, history = trainer.config.budget, list[dict[str, float]]()
    drawn = console.out.is_terminal and not quiet
    texts = all(spec.kind == "completion" for spec in trainer.schedule.specs)
    one_step = trainer.config.update.epochs * trainer.config.update.minibatches == 1
    latest: dict[str, float] | None = None
    running, seen_iteration = True, trainer.iteration

    def render() -> RenderableType:
        foot_lines = [*([stop_line(trainer)] if trainer.stopping else []), status(trainer)] if running else []
        return panel(title, history, budget, console.out.width, foot_lines)

    def new_status() -> str | None:
        nonlocal seen_iteration
        unchanged, seen_iteration = seen_iteration == trainer.iteration, trainer.iteration
        return status(trainer) if unchanged else None  # the line of an iteration was just printed

    def stop() -> None:
        trainer.stopping = True
        if not drawn:  # else the panel, which would overwrite a line, shows it
            console.note_after_interrupt(stop_line(trainer))

    live = Live(get_renderable=render, console=console.out)
    line_view = nullcontext() if quiet else console.ticking(new_status)
    view = console.drawing(live, console.out) if drawn else line_view
    with console.on_first_interrupt(stop), view:
        try:
            for latest in trainer.run():
                history.append(displayed_metrics(latest, texts=texts, one_step=one_step, history=history))
                if drawn:
                    live.refresh()
                elif not quiet:
                    console.show([line(history[-1], budget.iterations)])
        finally:
            running = False
    return latest


def status(trainer: "Trainer") -> str:
    iteration, progress = trainer.iteration, trainer.progress
    if not progress.phase:
        return "starting"
    position = f"after iteration {iteration}" if progress.phase == "evaluation" else f"iteration {iteration + 1}"
    return f"{position}, {progress}"


def stop_line(trainer: "Trainer") -> str:
    lost_part = f"what is newer than iteration {trainer.saved}" if trainer.saved else "the run so far"
    return f"stopping after this iteration; press Ctrl-C again to stop now and lose {lost_part}"


def notes(trainer: "Trainer", origins: Mapping[str, str]) -> list[str]:
    """Return the trainer's notes. Add a note if the setting `context` exceeds the model's length."""
    from agents.storage.run_folder import SETTINGS

    context, limit, origin = trainer.config.rollout.context, trainer.agent.model.context, origins["context"]
    is_explicit = not (origin.startswith(("default", "preset", "checkpoint")) or Path(origin).name == SETTINGS)
    if context is None or context <= limit or not is_explicit:
        return trainer.notes
    return [*trainer.notes, f"--context {context} exceeds the model's length; {limit} tokens are used"]


def show_end(trainer: "Trainer", folder: Path) -> None:
    """Print where the agent is saved, and the `play` and `watch` commands."""
    from agents.storage.checkpoint_files import BEST

    if trainer.stopped:
        console.note(stopped_line(trainer.config, folder))
        return
    lines = [f"the agent is in {folder}"]
    if best := trainer.held_out and trainer.held_out.best:
        moment = f"after iteration {best.iteration}" if best.iteration else "before training"
        lines.append(f"the best agent, {moment} ({best.value:z.2f} on held-out games), is in {folder / BEST}")
    lines.append(f"play a game with it: {play_command(folder, trainer.config.flat())}")
    if trainer.config.rollout.own_episodes:
        lines.append(f"watch its episodes:  {console.command_line('watch', str(folder))}")
    console.show(lines)


def stopped_line(settings: TrainConfig, folder: Path) -> str:
    """Return a message with the last saved iteration and the command that continues the run."""
    from agents.storage.checkpoint_files import checkpoints
    from agents.storage.run_folder import SETTINGS

    if not (folder / SETTINGS).is_file():
        return "stopped; no iteration was complete: nothing is kept"
    saved = checkpoints(folder)
    progress = f"the run is kept up to iteration {int(saved[-1].name)}" if saved else "no iteration is saved yet"
    return f"stopped; {progress}; continue with: {resume_command(folder, settings.flat())}"
