"""The command `runs`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich import box
from rich.table import Column, Table
from rich.text import Text
from typer import Argument

from agents.protocol import AgentError
from terminal import arguments as arg
from terminal import console
from terminal.texts import one_line

if TYPE_CHECKING:
    from agents.storage.run_summary import RunSummary

DEFAULT = Path("runs")
STYLES = {"running": "cyan", "finished": "green", "stopped": "yellow", "diverged": "red", "damaged": "red"}
BEST = {"eval_success": "held-out {:z.0%}", "success": "won {:z.0%}", "eval_reward": "held-out {:+z.2f}"} | {
    "reward": "return {:+z.2f}"
}
NARROW = 80  # columns of a console below which the table stacks the costs of a run in one cell
MAX_VALUE_LENGTH = 60  # characters of a setting's value in the table
CAPTION = "best: share of the last 100 episodes won, or return; held-out: on --eval-game"
WIDE_CAPTION, NARROW_CAPTION = "done: iterations", "below the state: iterations; cost: time, tokens, memory"


def runs(
    folders: Annotated[
        list[Path] | None,
        Argument(metavar="FOLDER", help="Folders below which runs are searched.", show_default=str(DEFAULT)),
    ] = None,
    as_json: arg.AsJson = False,
) -> None:
    """List runs with their state, best result and cost, and the settings in which they differ.

    Settings that all runs have from the presets of their game, trunk and optimizer are left out. Runs with the best
    results come first. A run is running, finished, stopped, diverged or damaged. To continue a stopped run, use train
    --resume.
    """
    from agents.storage.run_summary import find_runs, ranked, summarize

    roots = folders or [DEFAULT]
    run_folders = list(dict.fromkeys(run for folder in roots for run in find_runs(folder)))
    if not run_folders:
        raise AgentError(f"no runs in {', '.join(map(str, roots))}: expected folders that `train --out` has written")
    with console.waiting("reading runs"):
        summaries = ranked(map(summarize, run_folders))
    setting_names = _differing_names([run.settings for run in summaries if run.settings])
    if as_json:
        rows = [
            (run, {name: run.settings[name] for name in setting_names} if run.settings else None) for run in summaries
        ]
        console.document([asdict(run) | {"folder": str(run.folder), "settings": settings} for run, settings in rows])
    else:
        problems = [one_line(run.problem) for run in summaries if run.problem]
        console.show([table(summaries, setting_names, roots[0] if len(roots) == 1 else None), *problems])


def _differing_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names of settings that differ between runs, unless all runs have their values from presets."""
    from agents.storage.run_summary import differing_settings
    from agents.training.presets import Layer, merged, with_presets

    presets = [merged(with_presets([Layer("run", values)])[:-1]) for values in settings]
    changed_names = {
        name
        for values, preset in zip(settings, presets, strict=True)
        for name in values
        if values[name] != preset[name]
    }
    return [name for name in differing_settings(settings) if name in changed_names]


def table(summaries: Sequence["RunSummary"], setting_names: Sequence[str], root: Path | None = None) -> Table:
    """Return a table of runs that shows the settings in `setting_names`."""
    from agents.storage.run_summary import most_common_settings

    narrow = console.out.width < NARROW
    shared = most_common_settings([run.settings for run in summaries if run.settings], setting_names)
    captions = [f"{NARROW_CAPTION if narrow else WIDE_CAPTION}; {CAPTION}"]
    captions += [f"most runs: {_settings(shared)}"] if shared else []
    headings = ("best", "cost") if narrow else ("done", "best", "time", "tokens", "memory")
    run_table = Table(
        Column("state", no_wrap=True),
        *(Column(heading, justify="right", no_wrap=True) for heading in headings),
        Column(f"run{f' in {one_line(str(root))}' if root else ''}", overflow="fold"),
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(captions), style="table.caption"),
        caption_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for run in summaries:
        name = run.folder.relative_to(root) if root and run.folder != root else run.folder
        values = {name: run.settings[name] for name in setting_names} if run.settings else {}
        unusual_values = {name: value for name, value in values.items() if name not in shared or value != shared[name]}
        name_cell = Text(one_line(str(name))).append(f"\n{_settings(unusual_values)}" if unusual_values else "", "dim")
        state, (iterations, best, *costs) = Text(run.state, style=STYLES[run.state]), _cells(run)
        if narrow:
            run_table.add_row(state + f"\n{iterations}", best, "\n".join(filter(None, costs)), name_cell)
        else:
            run_table.add_row(state, iterations, best, *costs, name_cell)
    return run_table


def _settings(values: Mapping[str, Any]) -> str:
    from actde.config import format_value

    def text(value: Any) -> str:
        return shorten(value) if value and isinstance(value, str) else format_value(value)

    return one_line(", ".join(f"{name} {text(value)}" for name, value in values.items()))


def shorten(value: str) -> str:
    """Replace the middle of a long value by an ellipsis."""
    half = MAX_VALUE_LENGTH // 2
    return value if len(value) <= MAX_VALUE_LENGTH else f"{value[:half]}…{value[-half + 1 :]}"


def _cells(run: "RunSummary") -> list[str]:
    from terminal.training import clock

    return [
        "" if run.iterations is None else f"{run.iterations}/{run.planned_iterations}",
        "" if run.best is None or run.best_of is None else BEST[run.best_of].format(run.best),
        "" if run.seconds is None else clock(run.seconds),
        "" if run.tokens is None else short_number(run.tokens),
        "" if run.peak_memory is None else f"{short_number(run.peak_memory)}B",
    ]


def short_number(number: int) -> str:
    """Format a number with at most three digits, such as 999, 1.2k or 34M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:z.1f}{unit}" if scaled < 10 else f"{scaled:z.0f}{unit}"
    return str(number)
