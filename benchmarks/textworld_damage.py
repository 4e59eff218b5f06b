"""Check that damaged game files are refused in one line, or play like the intact file.

    python -m benchmarks.textworld_damage --out benchmarks/textworld_damage.json

A game consists of two files: the compiled story, and a JSON file, here called the record. One game of each of three
families is damaged, first with our record, and then with a foreign record, which contains no hashes. The damages are:

* The story or the record is truncated, at 20 places each.
* A random bit of the story or the record is flipped, 200 times each.
* A random bit of the story's header is flipped, 40 times. The header has no checksum.
* The record is replaced by that of another game.

Three players, one of which follows the walkthrough, must see the same texts, scores, commands and infos at every step
as with the intact file. The exit status is 1 if any file is neither refused nor played like the intact one.
"""

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from games.errors import GameError
from games.textworld.engines.protocol import INFOS
from games.textworld.env import TextWorld
from games.textworld.generation.make_game import cached_game

GAMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "simple": ({"seed": 7}, {"seed": 1}),
    "coin": ({"seed": 1, "level": 4}, {"seed": 2, "level": 4}),
    "cooking": ({"seed": 1, "level": 8}, {"seed": 2, "level": 8}),
}
"""Family -> (settings of the game, settings of another game whose record replaces that of the game)."""
HEADER = 64
TURNS = 40
Damage = tuple[str, bytes, bytes]
"""Tuple (kind of damage, story, record), in which at least one of story and record is damaged."""


def form(story: Path, foreign: bool) -> tuple[bytes, bytes]:
    """Return a tuple (story, record) of a game. A foreign record lacks this project's metadata, such as the hashes."""
    record = json.loads(story.with_suffix(".json").read_bytes())
    if foreign:
        del record["metadata"]["actde"]
    return story.read_bytes(), json.dumps(record).encode()


def damages(intact: tuple[bytes, bytes], other: bytes, seed: int, flips: int, cuts: int) -> Iterator[Damage]:
    """Yield every damaged pair of story and record, for one form of one game."""
    story, record = intact
    rng = random.Random(seed)
    for number in range(cuts):
        yield "story truncated", story[: len(story) * number // cuts], record
        yield "record truncated", story, record[: len(record) * number // cuts]
    yield "record of another game", story, other
    for _ in range(flips):
        yield "story flipped", _flip(story, rng.randrange(len(story)), rng), record
        yield "record flipped", story, _flip(record, rng.randrange(len(record)), rng)
    for _ in range(flips // 5):
        yield "header flipped", _flip(story, rng.randrange(HEADER), rng), record


def _flip(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def verdict(pair: tuple[bytes, bytes], intact: list[Any], folder: Path) -> str:
    """Play a damaged pair (story, record). Return "refused", "exact", or a description of the failure in capitals."""
    path = folder / "tw-game.z8"
    path.write_bytes(pair[0])
    path.with_suffix(".json").write_bytes(pair[1])
    try:
        return "exact" if play(path) == intact else "PLAYED DIFFERENTLY"
    except GameError as error:
        return "refused" if "\n" not in str(error) else "MORE THAN ONE LINE"


def play(path: Path) -> list[Any]:
    """Return everything that the walkthrough and two random players see."""
    with closing(TextWorld(str(path), infos=INFOS, max_turns=10_000)) as env:
        seen: list[Any] = []
        for player in range(3):
            rng = np.random.default_rng(player)
            text, info = env.reset(seed=0)
            plan = info["extra.walkthrough"]
            seen.append((text, info))
            for turn in range(TURNS if player else len(plan)):
                command = str(rng.choice(info["admissible_commands"])) if player else plan[turn]
                seen.append(env.step(command))
                info = seen[-1][4]
                if seen[-1][2]:
                    break
        return seen


def main(arguments: Sequence[str] | None = None) -> int:
    options = harness.parser(
        __doc__,
        timed=False,
        flips=(200, "bit flips of each file"),
        cuts=(20, "truncations of each file"),
        families=(",".join(GAMES), "families of games, separated by commas"),
        seed=(0, "seed of the flips"),
    ).parse_args(arguments)
    results: dict[str, dict[str, dict[str, int]]] = {}
    for family in options.families.split(","):
        mine, others = (cached_game(family, values) for values in GAMES[family])
        intact = play(mine)
        for name, foreign in (("ours", False), ("foreign", True)):
            counts: dict[str, Counter[str]] = {}
            other = form(others, foreign)[1]
            for what, story, record in damages(form(mine, foreign), other, options.seed, options.flips, options.cuts):
                with tempfile.TemporaryDirectory() as folder:
                    counts.setdefault(what, Counter())[verdict((story, record), intact, Path(folder))] += 1
            results[f"{family}, {name}"] = {what: dict(count) for what, count in counts.items()}
            print(f"{family}, {name}", json.dumps(results[f"{family}, {name}"]), flush=True)
    harness.write(options.out, {"seed": options.seed, "results": results})
    ends = {end for counts in results.values() for count in counts.values() for end in count}
    return int(not ends <= {"refused", "exact"})


if __name__ == "__main__":
    sys.exit(main())
