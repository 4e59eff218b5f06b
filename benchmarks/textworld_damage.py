"""Check that damaged game files are refused in one line, or play like the intact file.

    python -m benchmarks.textworld_damage --out benchmarks/textworld_damage.json

A game consists of two files: the compiled story, and a JSON file that is called the record here. One game of each of
three families is damaged, first with our record, which contains hashes, and then with a foreign record, as TextWorld
writes it, without hashes. The damages are:

* The story or the record is truncated, at 20 places each.
* A random bit of the story or the record is flipped, 200 times each.
* A random bit of the story's header is flipped, 40 times. The header has no checksum.
* The record is replaced by that of another game.

Three players play each damaged file: one follows the walkthrough, and two choose at random. The file plays like the
intact one if each player sees the same texts, scores, commands and infos at every step. The exit status is 1 if any
file is neither refused nor played like the intact one.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

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
    """Return a tuple (story, record) of a game.

    If `foreign`, the record lacks the metadata that this project adds, which contain the hashes.
    """
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
    """Play a damaged pair (story, record). Return "refused", "exact", or a description of the failure in capitals.

    `intact` is what `play` returns for the intact files.
    """
    path = folder / "tw-game.z8"
    path.write_bytes(pair[0])
    path.with_suffix(".json").write_bytes(pair[1])
    try:
        return "exact" if play(path) == intact else "PLAYED DIFFERENTLY"
    except GameError as error:
        return "refused" if "\n" not in str(error) else "MORE THAN ONE LINE"


def play(path: Path) -> list[Any]:
    """Return everything that the walkthrough and two random players see."""
    env = TextWorld(str(path), infos=INFOS, max_turns=10_000)
    try:
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
    finally:
        env.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200, help="bit flips of each file")
    parser.add_argument("--cuts", type=int, default=20, help="truncations of each file")
    parser.add_argument("--families", default=",".join(GAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the counts here, as JSON")
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, int]]] = {}
    for family in options.families.split(","):
        mine, others = (cached_game(family, values) for values in GAMES[family])
        intact = play(mine)
        for name, foreign in (("ours", False), ("foreign", True)):
            counts: dict[str, Counter[str]] = {}
            other = form(others, foreign)[1]
            for what, *pair in damages(form(mine, foreign), other, options.seed, options.flips, options.cuts):
                folder = Path(tempfile.mkdtemp())
                counts.setdefault(what, Counter())[verdict((pair[0], pair[1]), intact, folder)] += 1
                shutil.rmtree(folder)
            results[f"{family}, {name}"] = {what: dict(count) for what, count in counts.items()}
            print(f"{family}, {name}", json.dumps(results[f"{family}, {name}"]), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps({"seed": options.seed, "results": results}, indent=1) + "\n")
    ends = {end for counts in results.values() for count in counts.values() for end in count}
    return int(not ends <= {"refused", "exact"})


if __name__ == "__main__":
    sys.exit(main())
