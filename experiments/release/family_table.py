"""Measure the generated games of each family: `python -m experiments.release.family_table --out docs/families.md`."""

import contextlib
import json
import shlex
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Annotated, Any

from typer import Option
from typing_extensions import TypedDict

from experiments import program
from experiments.tables import table
from games.errors import FilesError, GameError
from games.files import atomic_write, exclusive, scratch_folder
from games.parameters import format_settings
from games.textworld.generation.families import FAMILIES
from games.textworld.generation.make_game import canonical_hash, make_game, write_game
from games.textworld.transitions.crawl import crawl_file
from games.untrusted_files import is_present, read_json
from games.worker_pool import WorkerPool


class StoredRow(TypedDict):
    """The fields that identify a row of the table."""

    family: str
    level: int


class StoredTable(TypedDict):
    """The content of the JSON file with the measured rows."""

    command: str
    rows: list[StoredRow]


SAMPLED = {  # the measured levels; all levels of any other family are measured
    "coin": (1, 2, 3, 5, 10, 20, 50, 100, 101, 110, 150, 201, 220, 233),
    "treasure": (1, 3, 5, 8, 10, 11, 13, 15, 18, 20, 21, 23, 25, 28, 30),
}
SLOW = {"coin": 50, "treasure": 20, "quest": 9}  # first levels whose games take seconds, so that fewer seeds are used
STATES = 300  # at most, in a crawl
MEASURES = {"rooms": "rooms", "doors": "doors", "things": "things", "steps": "steps of the walkthrough",
            "points": "points", "commands": "admissible commands at the start"}  # fmt: skip
HEADS = ["level", "settings", *MEASURES.values(), "states", "candidates", "different", "duplicates", "impossible"]


def levels_of(family: str) -> tuple[int, ...]:
    return SAMPLED.get(family, tuple(range(1, FAMILIES[family].levels + 1)))


def measure(family: str, level: int, candidates: int) -> dict[str, Any]:
    """Generate and measure a level's games. Return a row of the table."""
    first_states = count_states(family, level, candidates)
    if family in SLOW and level >= SLOW[family]:
        candidates = max(candidates // 5, 2)
    rows, hashes = [], set[str]()
    for seed in range(candidates):
        with contextlib.suppress(GameError):
            game = make_game(family, {"level": level, "seed": seed})
            hashes.add(canonical_hash(game))
            rows.append(_count(game))
    values = {key: [row[key] for row in rows] for key in MEASURES if rows}
    spreads = {
        key: [min(numbers), int(statistics.median_low(numbers)), max(numbers)] for key, numbers in values.items()
    }
    return {"family": family, "level": level, "settings": FAMILIES[family].preset(level), "candidates": candidates,
            "impossible": candidates - len(rows), "different": len(hashes), "found": spreads,
            "states": first_states}  # fmt: skip


def count_states(family: str, level: int, candidates: int) -> int | None:
    """Return the number of states of a level's first game, or None above `STATES`."""
    for seed in range(candidates):
        with contextlib.suppress(GameError):
            return _crawl(make_game(family, {"level": level, "seed": seed}))
    return None


def _crawl(game: Any) -> int | None:
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        write_game(game, story := Path(folder) / "tw-game.z8")
        crawled = crawl_file(story, STATES)
    return crawled.states if crawled.complete else None


def _count(game: Any) -> dict[str, int]:
    from textworld.generator.game import GameProgression
    from textworld.generator.inform7 import Inform7Game

    kinds = [info.type for info in game.infos.values() if info.name and info.type not in ("P", "I")]
    actions = GameProgression(game, track_quests=False).valid_actions
    return {
        "rooms": kinds.count("r"),
        "doors": kinds.count("d"),
        "things": len(kinds) - kinds.count("r") - kinds.count("d"),
        "steps": len(game.metadata["walkthrough"]),
        "points": int(game.max_score),
        "commands": len(set(Inform7Game(game).gen_commands_from_actions(actions))),
    }


def markdown(results: Mapping[str, Any]) -> str:
    lines = [
        "# Families and levels",
        "",
        "A single number is the same in all measured games; *a (b to c)* is the median and the range. A candidate is a",
        "seed. *different* is the number of distinct canonical hashes (facts, names, quests) among the candidates of a",
        "level. The other candidates are duplicates, which `generate` skips, or impossible: TextWorld cannot generate",
        "them. *states* is the number of states of the first game of a level, reached by trying every admissible",
        f"command in every state (`generate --crawl`). The crawl stops at {STATES:,} states.",
        "",
        f"Command: `{results['command']}  # 2 s if nothing is missing`.",
    ]
    for name, family in FAMILIES.items():
        rows = [row for row in results["rows"] if row["family"] == name]
        settings = [f"* `{setting.name}`: {setting.help}" for setting in family.own_parameters]
        lines += ["", f"## {name}", "", family.description, ""]
        lines += [f"Levels 1 to {family.levels}, settings beside `level` and `seed`:", "", *settings, ""]
        lines.append(table(HEADS, map(_cells, rows)))
    return "\n".join([*lines, ""])


def _cells(row: Mapping[str, Any]) -> list[object]:
    duplicates = row["candidates"] - row["impossible"] - row["different"]
    settings = format_settings(FAMILIES[row["family"]].own_parameters, row["settings"])
    state_text = f"over {STATES:,}" if row["states"] is None else f"{row['states']:,}"
    spreads = [_spread(row["found"].get(key)) for key in MEASURES]
    counts = [row["candidates"], row["different"], duplicates, row["impossible"]]
    return [row["level"], f"`{settings}`", *spreads, state_text, *counts]


def _spread(spread: Sequence[int] | None) -> str:
    low, middle, high = spread or ("", "", "")
    return str(middle) if low == high else f"{middle} ({low} to {high})"


def main(
    out: Annotated[Path, Option(help="document, NAME.md")],
    candidates: Annotated[int, Option(help="seeds per level")] = 30,
    workers: int = 2,
) -> None:
    """Measure the families and levels of games, and write the tables as Markdown."""
    command = f"python -m experiments.release.family_table --out {shlex.quote(str(out))} --candidates {candidates}"
    path = out.with_suffix(".json")
    with exclusive(path.parent, path.name, out.name):
        stored: StoredTable = read_json(path, StoredTable) if is_present(path) else {"command": command, "rows": []}
        if stored["command"] != command:
            raise FilesError(f"{path} was written by {stored['command']!r}; choose another file")
        measured: dict[tuple[str, int], Any] = {(row["family"], row["level"]): row for row in stored["rows"]}
        levels = [(name, level) for name in FAMILIES for level in levels_of(name)]
        with WorkerPool(workers) as pool:
            jobs = [pool.submit(measure, *key, candidates) for key in levels if key not in measured]
            for job in as_completed(jobs):
                row = job.result()
                measured[row["family"], row["level"]] = row
                results = {
                    "command": command,
                    "rows": [measured[key] for key in levels if key in measured],
                }
                atomic_write(path, json.dumps(results, indent=1) + "\n")
                sys.stderr.write(f"{len(measured)} of {len(levels)}: {row['family']}, level {row['level']}\n")
        atomic_write(out, markdown(read_json(path, StoredTable)))


if __name__ == "__main__":
    program.run(main)
