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
LONGEST = 60  # characters of a setting's value in the table
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

    Settings that follow from presets are left out. Runs with the best results come first. A run is running, finished,
    stopped, diverged or damaged. To continue a stopped run, use train --resume.
    """
    from agents.storage.run_summary import find_runs, ranked, summarize

    searched = folders or [DEFAULT]
    found = list(dict.fromkeys(run for folder in searched for run in find_runs(folder)))
    if not found:
        raise AgentError(f"no runs in {', '.join(map(str, searched))}: expected folders that `train --out` has written")
    with console.waiting("reading runs"):
        listed = ranked(map(summarize, found))
    differ = _chosen([run.settings for run in listed if run.settings])
    if as_json:
        about = [(run, {name: run.settings[name] for name in differ} if run.settings else None) for run in listed]
        console.document([asdict(run) | {"folder": str(run.folder), "settings": own} for run, own in about])
    else:
        problems = [one_line(run.problem) for run in listed if run.problem]
        console.show([table(listed, differ, searched[0] if len(searched) == 1 else None), *problems])


def _chosen(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings whose values differ, except those that all runs have from their presets."""
    from agents.storage.run_summary import differing
    from agents.training.presets import Layer, merged, with_presets

    presets = [merged(with_presets([Layer("run", each)])[:-1]) for each in settings]
    own = {name for each, preset in zip(settings, presets, strict=True) for name in each if each[name] != preset[name]}
    return [name for name in differing(settings) if name in own]


def table(listed: Sequence["RunSummary"], differ: Sequence[str], root: Path | None = None) -> Table:
    """Return a table of runs, with the values of the settings in `differ`."""
    from agents.storage.run_summary import usual

    narrow = console.out.width < NARROW
    shared = usual([run.settings for run in listed if run.settings], differ)
    captions = [f"{NARROW_CAPTION if narrow else WIDE_CAPTION}; {CAPTION}"]
    captions += [f"most runs: {_settings(shared)}"] if shared else []
    heads = ("best", "cost") if narrow else ("done", "best", "time", "tokens", "memory")
    shown = Table(
        Column("state", no_wrap=True),
        *(Column(head, justify="right", no_wrap=True) for head in heads),
        Column(f"run{f' in {one_line(str(root))}' if root else ''}", overflow="fold"),
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(captions), style="table.caption"),
        caption_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for run in listed:
        name = run.folder.relative_to(root) if root and run.folder != root else run.folder
        values = {name: run.settings[name] for name in differ} if run.settings else {}
        own = {name: value for name, value in values.items() if name not in shared or value != shared[name]}
        described = Text(one_line(str(name))).append(f"\n{_settings(own)}" if own else "", "dim")
        state, (done, best, *costs) = Text(run.state, style=STYLES[run.state]), _cells(run)
        if narrow:
            shown.add_row(state + f"\n{done}", best, "\n".join(filter(None, costs)), described)
        else:
            shown.add_row(state, done, best, *costs, described)
    return shown


def _settings(values: Mapping[str, Any]) -> str:
    from actde.config import written

    texts = {name: cut(value) if value and isinstance(value, str) else written(value) for name, value in values.items()}
    return one_line(", ".join(f"{name} {text}" for name, text in texts.items()))


def cut(value: str) -> str:
    """Replace the middle of a long value by an ellipsis."""
    half = LONGEST // 2
    return value if len(value) <= LONGEST else f"{value[:half]}…{value[-half + 1 :]}"


def _cells(run: "RunSummary") -> list[str]:
    """Return a run's iterations, best result, time, tokens and memory."""
    from terminal.training import clock

    return [
        "" if run.iterations is None else f"{run.iterations}/{run.planned_iterations}",
        "" if run.best is None or run.best_of is None else BEST[run.best_of].format(run.best),
        "" if run.seconds is None else clock(run.seconds),
        "" if run.tokens is None else short(run.tokens),
        "" if run.peak_memory is None else f"{short(run.peak_memory)}B",
    ]


def short(number: int) -> str:
    """Return a number with at most three digits, such as 999, 1.2k or 34M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:z.1f}{unit}" if scaled < 10 else f"{scaled:z.0f}{unit}"
    return str(number)
