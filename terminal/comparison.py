"""Show the progress and the results of `compare`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from agents.protocol import AgentError
from agents.storage.run_folder import SETTINGS
from experiments.compare.intervals import ABOVE_0, RATE, Range, mean_over_runs
from experiments.compare.results import by_label, can_be_won, number_at, values_of, write_texts
from terminal import console, error_lines
from terminal.evaluation import estimate_cell
from terminal.texts import printable

# title of the column, name of the measure, format
MEASURES = (
    ("entropy", "entropy", "z.2f"),
    ("KL", "kl", "z.2f"),
    ("distinct", "distinct_2", "z.2f"),
    ("BLEU", "self_bleu", "z.2f"),
    ("word", "commonest_word", "z.0%"),
)
CAPTION = "entropy, KL to the initial policy: nats per token; distinct-2; self-BLEU; the commonest word"
NARROW = 80  # columns of a console below which the table may break the name of an agent before a "+"
NOTE = "below each mean its 95% interval over runs; entropy in nats"
Rows = Sequence[Mapping[str, Any]]


@contextmanager
def progress(runs: int) -> Iterator[Callable[[int, int, int], None]]:
    """Show a progress bar. Yield the callback `on_progress` for `run_grid`."""
    with console.reporting("compare") as report:
        yield lambda finished, done_iterations, all_iterations: report(
            f"{finished} of {runs} runs, {done_iterations:,} of {all_iterations:,} iterations",
            done_iterations,
            all_iterations,
        )


def check_folders(out: Path, runs: Path) -> None:
    """Raise `AgentError` if one of the folders already holds a run."""
    for name, folder in (("--out", out), ("--runs", runs)):
        if (folder / SETTINGS).is_file():
            raise AgentError(f"{folder} holds a run; choose another {name}")


def conclude(folder: Path, results: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the results of a comparison. If runs diverged, exit with status 1."""
    rows, diverged = results["runs"], results.get("diverged", ())
    locations = f"the report is in {folder / 'README.md'}, the learning curves in {folder / 'curves.svg'}"
    if as_json:
        console.document({"out": str(folder), **results})
    else:
        console.show([*(text_tables(rows) if write_texts(rows) else [results_table(rows)]), locations])
    run_names = {path.parent.name for path in (folder / "runs").glob("*/settings.json")}
    if omitted_runs := sorted(run_names - {row["name"] for row in (*rows, *diverged)}):
        console.note(f"{folder / 'runs'} also holds runs that this report leaves out: {', '.join(omitted_runs)}")
    if diverged:
        names = ", ".join(row["name"] for row in diverged)
        error_lines.fail(f"{len(diverged)} of {len(rows) + len(diverged)} runs diverged, see the report: {names}", 1)


def results_table(rows: Rows) -> Table:
    """Return a table with a row per optimizer: means over runs."""
    rates: list[tuple[str, str, str, Range, str]] = [
        ("won", "sampled", "success_rate", RATE, "z.0%"),
        ("greedy", "greedy", "success_rate", RATE, "z.0%"),
        ("score", "sampled", "normalized_score", RATE, "z.0%"),
    ]
    returns = [("reward", "sampled", "reward", (-math.inf, math.inf), "+z.2f")]
    measures = [*(rates if can_be_won(rows) else returns), ("entropy", "sampled", "entropy", ABOVE_0, "z.2f")]
    table = Table(
        Column("agent", overflow="fold", min_width=6),
        *(
            Column(heading, justify="right", no_wrap=True)
            for heading in ("runs", *(measure[0] for measure in measures))
        ),
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=0,
        show_edge=False,
        caption=f"won sampled and greedily; {NOTE}" if can_be_won(rows) else NOTE,
        caption_justify="left",
    )
    for label, group in by_label(rows).items():
        cells = []
        for _, sampling, name, value_range, form in measures:
            values = values_of(group, number_at("evaluation", sampling, name, "value"))
            cells.append(estimate_cell(mean_over_runs(values, value_range, clopper_pearson=value_range == RATE), form))
        breakable = label.replace("+", " +") if console.out.width < NARROW else label
        table.add_row(Text(breakable), str(len(group)), *cells)
    return table


def text_tables(rows: Rows, max_samples: int = 6) -> list[RenderableType]:
    """Return two tables: measures, and texts for at most `max_samples` prompts."""
    headings = ("seed", "reward", *(heading for heading, _, _ in MEASURES))
    measures = Table(
        Column("optimizer", overflow="ellipsis"),
        *(Column(heading, justify="right", no_wrap=True) for heading in headings),
        caption=CAPTION,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=0,
    )
    for row in rows:
        texts, reward = row["collapse"]["texts"], row["evaluation"]["sampled"]["texts"]["reward"]["value"]
        cells = (format(texts[name], form) for _, name, form in MEASURES)
        measures.add_row(Text(row["optimizer"]), str(row["seed"]), f"{reward:+z.2f}", *cells)
    first_seed_rows = [row for row in rows if row["seed"] == rows[0]["seed"]]
    columns = (Column(row["optimizer"], ratio=3, overflow="fold") for row in first_seed_rows)
    side_by_side = Table(Column("prompt", ratio=2), *columns, box=box.SIMPLE_HEAD, header_style="bold", expand=True)
    for index in range(min(max_samples, *(len(row["collapse"]["texts"]["samples"]) for row in first_seed_rows))):
        texts = [row["collapse"]["texts"]["samples"][index] for row in first_seed_rows]
        prompt = Text(printable(texts[0][0]), style="dim")
        side_by_side.add_row(prompt, *(Text(printable(" ".join(text.split()))) for _, text in texts))
    return [measures, side_by_side]
