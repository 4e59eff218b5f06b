"""The command `runs`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from terminal import arguments as arg
from terminal import console

if TYPE_CHECKING:
    from rich.table import Table

    from agents.storage.run_summary import RunSummary

DEFAULT = Path("runs")
STYLES = {"running": "cyan", "finished": "green", "stopped": "yellow", "diverged": "red", "damaged": "red"}
BEST = {"eval_success": "held-out {:z.0%}", "success": "won {:z.0%}", "eval_reward": "held-out {:+z.2f}"} | {
    "reward": "return {:+z.2f}"
}
NARROW = 80
"""If the console has fewer columns than this, the table stacks the costs of a run in one cell."""
LONGEST = 60
"""Maximum number of characters of a setting's value in the table. `--json` prints longer values in full."""
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

    The best come first. A run is running, finished, stopped (interrupted: train --resume continues it), diverged or
    damaged.
    """
    from agents.protocol import AgentError
    from agents.storage.run_summary import differing, find_runs, ranked, summarize

    searched = folders or [DEFAULT]
    found = list(dict.fromkeys(run for folder in searched for run in find_runs(folder)))
    if not found:
        raise AgentError(f"no runs in {', '.join(map(str, searched))}: expected folders that `train --out` has written")
    with console.waiting("reading runs"):
        listed = ranked(map(summarize, found))
    differ = differing([run.settings for run in listed if run.settings])
    if as_json:
        console.document([_document(run, differ) for run in listed])
    else:
        problems = [_printable(run.problem) for run in listed if run.problem]
        console.show([table(listed, differ, searched[0] if len(searched) == 1 else None), *problems])


def _document(run: "RunSummary", differ: Sequence[str]) -> dict[str, Any]:
    from dataclasses import asdict

    settings = {name: run.settings[name] for name in differ} if run.settings else None
    return asdict(run) | {"folder": str(run.folder), "settings": settings}


def table(listed: Sequence["RunSummary"], differ: Sequence[str], root: Path | None = None) -> "Table":
    """Return a table with a row for each run.

    The last column holds the folder of the run and, below it, the values of the settings that `differ` names. A value
    that more than half of the runs share is shown only below the table. If all runs are below one folder `root`, their
    folders are shown relative to `root`.
    """
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    from agents.storage.run_summary import usual

    narrow = console.out.width < NARROW
    shared = usual([run.settings for run in listed if run.settings], differ)
    captions = [f"{NARROW_CAPTION if narrow else WIDE_CAPTION}; {CAPTION}"]
    captions += [f"most runs: {_settings(shared)}"] if shared else []
    heads = ("best", "cost") if narrow else ("done", "best", "time", "tokens", "memory")
    columns = [Column("state", no_wrap=True), *(Column(head, justify="right", no_wrap=True) for head in heads)]
    shown = Table(
        *columns,
        Column(f"run{f' in {_printable(str(root))}' if root else ''}", overflow="fold"),
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(captions), style="table.caption"),
        caption_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for run in listed:
        name = run.folder.relative_to(root) if root and run.folder != root else run.folder
        described = Text.assemble(_printable(str(name)), *_details(run, differ, shared))
        state, (done, best, *costs) = Text(run.state, style=STYLES[run.state]), _cells(run)
        if narrow:
            shown.add_row(state + f"\n{done}", best, "\n".join(filter(None, costs)), described)
        else:
            shown.add_row(state, done, best, *costs, described)
    return shown


def _details(run: "RunSummary", differ: Sequence[str], shared: Mapping[str, Any]) -> list[Any]:
    values = {name: run.settings[name] for name in differ} if run.settings else {}
    own = {name: value for name, value in values.items() if name not in shared or value != shared[name]}
    return [("\n" + _settings(own), "dim")] if own else []


def _settings(values: Mapping[str, Any]) -> str:
    from actde.config import written

    texts = {name: cut(value) if value and isinstance(value, str) else written(value) for name, value in values.items()}
    return _printable(", ".join(f"{name} {text}" for name, text in texts.items()))


def cut(value: str) -> str:
    """Return a value, with an ellipsis in place of its middle if it is longer than `LONGEST` characters."""
    half = LONGEST // 2
    return value if len(value) <= LONGEST else f"{value[:half]}…{value[-half + 1 :]}"


def _cells(run: "RunSummary") -> list[str]:
    """Return the cells with a run's iterations, best result, time, tokens and memory. Unknown numbers are empty."""
    from terminal.training import clock

    return [
        "" if run.iterations is None else f"{run.iterations}/{run.planned_iterations}",
        "" if run.best is None or run.best_of is None else BEST[run.best_of].format(run.best),
        "" if run.seconds is None else clock(run.seconds),
        "" if run.tokens is None else short(run.tokens),
        "" if run.peak_memory is None else f"{short(run.peak_memory)}B",
    ]


def short(number: int) -> str:
    """Return a number with at most three digits and, from 1000 on, a suffix, such as 999, 1.2k or 34M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:z.1f}{unit}" if scaled < 10 else f"{scaled:z.0f}{unit}"
    return str(number)


def _printable(text: str) -> str:
    from terminal.texts import one_line

    return one_line(text)
