"""Maps: one cell per room, passages in their direction, doors and things as in the record."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from experiments.release.map_picture import draw_map
from games.textworld.generation.make_game import _record, make_game
from games.textworld.maps import STEPS, Map, read_map
from terminal.map import MapView

BACK = {"north": "south", "south": "north", "east": "west", "west": "east"}


def record(rooms: int, ways: list[tuple[int, str, int]], *more: tuple[str, list[str]], **names: str) -> dict[str, Any]:
    """Return a record of rooms r0, r1, ..., passages (room, direction, room), `more` facts, and `names` of things."""
    facts: list[tuple[str, list[str]]] = [("at", ["P", "r0"]), *more]
    for one, direction, other in ways:
        facts += [(f"{direction}_of", [f"r{other}", f"r{one}"]), (f"{BACK[direction]}_of", [f"r{one}", f"r{other}"])]
    kinds = [("P", "P", ""), *((f"r{at}", "r", f"room {at}") for at in range(rooms))]
    kinds += [(key, key[0], name) for key, name in names.items()]
    return {
        "world": [{"name": name, "arguments": [{"name": thing} for thing in things]} for name, things in facts],
        "infos": [[key, {"type": kind, "name": name}] for key, kind, name in kinds],
        "metadata": {"walkthrough": ["open gate", "go east", "take coin"]},
    }


def turned(drawn: Map) -> list[str]:
    """The passages that do not lie in their direction on the grid."""
    wrong = []
    for passage in drawn.passages:
        (x, y), (u, v) = (drawn.rooms[key].cell for key in passage.rooms)
        step = STEPS[passage.direction]
        if ((u > x) - (u < x), (v > y) - (v < y)) != step:
            wrong.append(f"{passage.rooms}")
    return wrong


def test_small_map_written_by_hand() -> None:
    drawn = read_map(
        record(
            3,
            [(0, "east", 1), (1, "south", 2)],
            ("link", ["r0", "d0", "r1"]),
            ("link", ["r1", "d0", "r0"]),
            ("closed", ["d0"]),
            ("at", ["c0", "r1"]),
            ("locked", ["c0"]),
            ("in", ["o0", "c0"]),
            ("in", ["o1", "I"]),
            d0="gate",
            c0="chest",
            o0="coin",
            o1="lamp",
        )
    )
    assert [(room.name, room.cell) for room in drawn.rooms.values()] == [
        ("room 0", (0, 0)), ("room 1", (1, 0)), ("room 2", (1, 1)),
    ]  # fmt: skip
    assert drawn.rooms["r1"].things == ("chest (locked): coin",)
    assert drawn.carried == ("lamp",)
    assert [(p.rooms, p.direction, p.door, p.state) for p in drawn.passages] == [
        (("r0", "r1"), "east", "gate", "closed"),
        (("r1", "r2"), "south", "", ""),
    ]
    assert (drawn.start, drawn.route) == ("r0", ("r0", "r1"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=40))
def test_chain_that_crosses_itself_keeps_all_directions(directions: list[str]) -> None:
    walk: list[tuple[int, str, int]] = []
    for at, direction in enumerate(directions):
        if walk and direction == BACK[walk[-1][1]]:
            direction = walk[-1][1]
        walk.append((at, direction, at + 1))
    drawn = read_map(record(len(walk) + 1, walk))
    cells = [room.cell for room in drawn.rooms.values()]
    assert len(set(cells)) == len(cells) == len(walk) + 1
    assert min(column for column, _ in cells) == min(row for _, row in cells) == 0
    assert turned(drawn) == []


def test_rooms_off_the_grid_and_out_of_reach_have_cells() -> None:
    triangle = read_map(record(4, [(0, "east", 1), (1, "east", 2), (2, "east", 0)]))
    assert len({room.cell for room in triangle.rooms.values()}) == 4
    assert len(turned(triangle)) == 1
    assert "east of 2 room 1: 3 room 2" in shown(triangle, 100)


@pytest.fixture(scope="module")
def twenty() -> Map:
    game = make_game("treasure", {"level": 21, "seed": 1})
    return read_map(json.loads(_record(game, "")))


def shown(drawn: Map, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(MapView(drawn, "a map"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_game_of_twenty_rooms_fits_the_grid(twenty: Map) -> None:
    assert len({room.cell for room in twenty.rooms.values()}) == 20
    assert turned(twenty) == []
    assert next(iter(twenty.rooms)) == twenty.start == twenty.route[0]


@pytest.mark.parametrize("width", [140, 60, 12])
def test_terminal_shows_every_room_at_any_width(width: int, twenty: Map) -> None:
    text = shown(twenty, width)
    assert max(len(line) for line in text.splitlines()) <= width
    words = " ".join(text.split())
    assert "does not fit" in words if width == 12 else "╔═" in text
    for at, room in enumerate(twenty.rooms.values()):
        if width == 140:
            assert f"{at + 1} {room.name}" in text
    assert twenty.walkthrough[-1].split()[-1] in words


def test_lines_below_the_map_stay_indented(twenty: Map) -> None:
    text = shown(twenty, 60)
    below = text[text.index("(the player starts here)") :].splitlines()[1:]
    assert len(below) > 5 and all(line.startswith(" ") for line in below)


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_picture_is_written(ending: str, twenty: Map, tmp_path: Path) -> None:
    draw_map(twenty, "a map", tmp_path / f"map.{ending}")
    data = (tmp_path / f"map.{ending}").read_bytes()
    assert data.startswith(b"\x89PNG") if ending == "png" else b"</svg>" in data
