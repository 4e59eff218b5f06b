"""The command `watch`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from terminal import arguments as arg
from terminal import console

if TYPE_CHECKING:
    from agents.play.transcript_index import EpisodeFilter, EpisodeRow


def watch(
    runs: Annotated[
        list[Path],
        Argument(metavar="RUN", help="Folder of a run, of saved episodes or of a comparison, or a .jsonl file."),
    ],
    won: Annotated[bool, Option("--won", help="Episodes that were won.")] = False,
    lost: Annotated[bool, Option("--lost", help="Episodes that were not won.")] = False,
    game: Annotated[
        str | None, Option(metavar="TEXT", help="Episodes of games whose name contains this.", show_default="all")
    ] = None,
    level: Annotated[int | None, Option(help="Episodes of games of this level.", show_default="all")] = None,
    iteration: Annotated[
        int | None,
        Option(
            min=1,
            help="Episodes of this iteration, counted from 1.",
            show_default="all; in a pipe and without a filter the newest",
        ),
    ] = None,
    episode: Annotated[int | None, Option(min=0, help="This episode only, counted from 0.", show_default="all")] = None,
    search: Annotated[
        str | None, Option(metavar="TEXT", help="Episodes in whose texts and commands this occurs.", show_default="all")
    ] = None,
    follow: Annotated[bool, Option("--follow", help="Show new episodes while the run trains.")] = False,
    export: Annotated[
        Path | None, Option(metavar="FILE", help="Write the episodes to a page to share: FILE.html or FILE.md.")
    ] = None,
    as_json: arg.AsJson = False,
) -> None:
    """Watch recorded episodes: a list, each turn, and two runs side by side.

    In a terminal, this is an application with keys; ? lists them. In a pipe, the episodes are printed as lines.
    """
    if won and lost:
        raise typer.BadParameter("--won and --lost exclude each other: leave out one of them")
    if export and export.suffix not in (".html", ".md"):
        raise typer.BadParameter(f"--export expects FILE.html or FILE.md, got {export}")
    if export and as_json:
        raise typer.BadParameter("--export and --json exclude each other: leave out one of them")
    from agents.play.transcript_index import EpisodeFilter

    paths = [path for run in runs for path in _transcripts(run)]
    wanted = EpisodeFilter(
        won=won, lost=lost, game=game, level=level, iteration=iteration, episode=episode, text=search
    )
    streams = (sys.stdout, sys.stdin, sys.stderr)  # textual draws to standard error
    in_terminal = all(stream is not None and stream.isatty() for stream in streams)
    application = in_terminal and not as_json and export is None
    if follow and not application:
        raise typer.BadParameter("--follow is for the application in a terminal: leave it out")
    if application:
        from terminal.watcher.app import Watcher

        if error := Watcher(paths, wanted, follow=follow).run():
            raise error
        return
    if export:
        _export(export, paths, wanted)
    else:
        _print(paths, wanted, as_json=as_json)


def _transcripts(run: Path) -> list[Path]:
    """Return the transcript of a run, or those of a folder that `evaluate --save` or `compare` wrote.

    Raises:
        AgentError: `run` is a file of another kind.
    """
    from agents.play.transcript import NAME
    from agents.protocol import AgentError

    if run.is_dir():
        found = (sorted(run.glob(f"{below}{NAME}")) for below in ("", "*/", "*/*/"))  # `compare`: OUT/runs/RUN
        return next(filter(None, found), [run / NAME])
    if run.is_file() and run.suffix != Path(NAME).suffix:
        raise AgentError(f"{run} is no transcript; expected the folder of a run, or a transcript file (.jsonl)")
    return [run]


def _print(paths: list[Path], wanted: "EpisodeFilter", *, as_json: bool) -> None:
    """Print the chosen episodes, as lines or as one JSON document."""
    from agents.play.transcript_index import read_episode
    from terminal import playback
    from terminal.watcher.catalogue import labels

    chosen = _choose(paths, wanted)
    if not as_json:
        names = dict(zip(paths, labels(paths) if len(paths) > 1 else [""], strict=True))
        for path, row in chosen:
            console.show(playback.episode_lines(read_episode(row), run=names[path]))
        return
    entries = ((path, read_episode(row)) for path, row in chosen)
    console.document(
        [
            {**({"run": str(path)} if len(paths) > 1 else {}), "iteration": e.iteration, **e.episode.to_json()}
            for path, e in entries
        ]
    )


def _export(page: Path, paths: list[Path], wanted: "EpisodeFilter") -> None:
    """Write the chosen episodes to a page."""
    from agents.play.transcript_index import read_episode
    from terminal.watcher.catalogue import labels
    from terminal.watcher.page import write_page

    names = dict(zip(paths, labels(paths), strict=True))
    write_page(page, ((names[path], read_episode(row)) for path, row in _choose(paths, wanted)))
    console.show([f"the page is in {page}"])


def _choose(paths: list[Path], wanted: "EpisodeFilter") -> list[tuple[Path, "EpisodeRow"]]:
    """Return the episodes that the filter `wanted` matches, as tuples (transcript, row).

    They are sorted by transcript, iteration and number. If the filter is empty, return the episodes of the newest
    iteration in each transcript.

    Raises:
        AgentError: a transcript is missing, damaged or empty, or no episode matches.
    """
    from agents.play.transcript import is_of_run
    from agents.play.transcript_index import EpisodeFilter, TranscriptIndex
    from agents.protocol import AgentError

    chosen, ends = list[tuple[Path, "EpisodeRow"]](), list[str]()
    for path in paths:
        with console.waiting(f"reading {path}"):
            rows = sorted(TranscriptIndex(path).read(), key=lambda row: (row.iteration, row.index))
            if not rows:
                raise AgentError(f"{path} holds no episodes yet")
            last, most = rows[-1].iteration + 1, max(row.index for row in rows)
            iterations = f"iterations go up to {last}, its " if is_of_run(path) else ""
            numbers = f"its {iterations}episodes go up to {most}"
            numbered = (wanted.iteration, wanted.episode) != (None, None)
            ends.append(f"{path} has no such episode: {numbers if numbered else f'none of its {len(rows)} matches'}")
            choice = replace(wanted, iteration=last) if wanted == EpisodeFilter() else wanted
            chosen += [(path, row) for row in rows if choice.accepts(row)]
    if not chosen:
        raise AgentError("; ".join(ends))
    return chosen
