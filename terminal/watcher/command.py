"""The command `watch`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from terminal import arguments as arg
from terminal import console


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
    """Watch recorded episodes in a list, turn by turn, or side by side with those of another run.

    In a terminal, this opens an application; ? lists its keys. In a pipe, this prints the episodes as lines.
    """
    if won and lost:
        raise typer.BadParameter("--won and --lost exclude each other: leave out one of them")
    if export and export.suffix not in (".html", ".md"):
        raise typer.BadParameter(f"--export expects FILE.html or FILE.md, got {export}")
    if export and as_json:
        raise typer.BadParameter("--export and --json exclude each other: leave out one of them")
    from agents.play.transcript_index import EpisodeFilter, read_episode
    from terminal import playback
    from terminal.watcher import catalogue
    from terminal.watcher.page import write_page

    paths = [path for run in runs for path in catalogue.transcripts(run)]
    episode_filter = EpisodeFilter(
        won=won, lost=lost, game=game, level=level, iteration=iteration, episode=episode, text=search
    )
    # textual draws to standard error
    in_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stdin, sys.stderr))
    application = in_terminal and not as_json and export is None
    if follow and not application:
        raise typer.BadParameter("--follow is for the application in a terminal: leave it out")
    if application:
        from terminal.watcher.app import Watcher

        if error := Watcher(paths, episode_filter, follow=follow).run():
            raise error
        return
    rows, names = catalogue.choose(paths, episode_filter), dict(zip(paths, catalogue.labels(paths), strict=True))
    several = len(paths) > 1
    if export:
        write_page(export, ((names[row.path], read_episode(row)) for row in rows))
        console.show([f"the page is in {export}"])
    elif as_json:
        run_fields = ({"run": str(row.path)} if several else {} for row in rows)
        entries = zip(run_fields, map(read_episode, rows), strict=True)
        console.document([run | {"iteration": entry.iteration} | entry.episode.to_json() for run, entry in entries])
    else:
        for row in rows:
            console.show(playback.episode_lines(read_episode(row), run=names[row.path] if several else ""))
