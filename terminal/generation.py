"""Generate games with progress bars and a summary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from games.textworld.generation import dataset
from games.textworld.generation.manifest import ManifestEntry
from games.textworld.transitions.crawl import crawl_file
from terminal import console


def generate(
    folder: Path, *, family: str, levels: Sequence[int], per_level: int, **request: Any
) -> tuple[list[ManifestEntry], dict[str, int]]:
    """Generate games. Return a tuple (manifest entries, dict: reason -> number of rejected games)."""
    generated, rejected = 0, dict[str, int]()
    with console.progress(f"{family} games", per_level * len(levels)) as advance:

        def on_progress(progress: dataset.Progress) -> None:
            nonlocal generated, rejected
            for _ in range(progress.done - generated):
                advance(progress)
            generated, rejected = progress.done, progress.rejected

        entries = dataset.generate(
            folder, family=family, levels=levels, per_level=per_level, on_progress=on_progress, **request
        )
    return entries, rejected


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """Parse the values of --set: ["goal=none"] becomes {"goal": "none"}."""
    settings: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set expects NAME=VALUE, got {word!r}")
        if name in settings:
            raise typer.BadParameter(f"--set {name} is given twice, as {settings[name]!r} and {value!r}: leave out one")
        settings[name] = value
    return settings


def crawl(folder: Path, entries: Sequence[ManifestEntry], limit: int) -> dict[str, Any]:
    """Play all commands in up to `limit` states of each game. Return a dict: file name -> results."""
    crawled: dict[str, Any] = {}
    message = "stopped; the games are kept, and the same command crawls them again"
    with console.reporting("crawl") as report, console.resumable(folder, message=message, wait=True):
        for index, entry in enumerate(entries):

            def count(states: int, finished: int, index: int = index) -> None:
                position = f"game {index + 1} of {len(entries)}, {states:,} states"
                report(position, index + finished / min(states, limit), len(entries))

            result = crawl_file(entry.path, limit, on_state=count)
            crawled[entry.file] = asdict(result)
            if result.states > limit:
                console.note(
                    f"{entry.file}: the crawl stopped after {limit:,} states, whose commands it played; "
                    "--crawl-states sets another limit, and play computes the other states"
                )
    return crawled


def summary(folder: Path, games: int, rejected: Mapping[str, int], crawled: Mapping[str, Any]) -> list[str]:
    play = console.command_line("play", "--game", str(folder))
    lines = [f"{games} {'game' if games == 1 else 'games'} in {folder}; play one of them: {play}"]
    if rejected:
        lines.append("rejected: " + ", ".join(f"{count} {reason}" for reason, count in rejected.items()))
    if crawled:
        states = sum(game["states"] for game in crawled.values())
        complete = sum(game["complete"] for game in crawled.values())
        lines.append(f"{states} states found; {complete} of {len(crawled)} games are known completely")
    return lines
