"""The command `reproduce`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from experiments import reproduce as parts
from terminal import arguments as arg
from terminal import console


def reproduce(
    part: Annotated[str, Argument(metavar="PART", help=f"{', '.join(parts.PARTS)} or all.")],
    folder: Annotated[
        Path, Option("--out", metavar="OUT", file_okay=False, help="Folder of the report. Other parts in it are kept.")
    ],
    quick: Annotated[bool, Option("--quick", help="Run a small version of less than two minutes.")] = False,
    seed: arg.Seed = 0,
    workers: Annotated[
        int | None, Option(min=0, help="Processes. 0 only reports earlier runs.", show_default="1")
    ] = None,
    cluster: arg.Cluster = None,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Reproduce the numbers, figures and claims of the post by Turner and Einhorn (2023), each with a verdict."""
    from experiments.reproduce import report
    from terminal import display

    count = workers if cluster or workers is not None else 1
    names = parts.part_names(part)
    with console.resumable(folder):
        report.check(folder, names, quick=quick)
        for name in names:
            begin = time.monotonic()
            with console.reporting(name) as progress:
                run = parts.load(name)
                outcome = run(seed=seed, quick=quick, folder=folder, workers=count, cluster=cluster, progress=progress)
            seconds = round(time.monotonic() - begin if outcome.seconds is None else outcome.seconds, 1)
            versions = report.versions()
            info = report.RunInfo(command=console.typed(), seed=seed, quick=quick, seconds=seconds, versions=versions)
            findings = report.write(folder, name, info, outcome)
    counts = report.counts(findings)
    console.output(
        {"out": str(folder), "verdicts": counts, "findings": [asdict(finding) for finding in findings]},
        [display.verdict_table(counts), f"the report is in {folder / report.README}"],
        as_json=as_json,
    )
