"""Draw the map of a game into an image file."""

import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.plot_style import PALETTE, make_figure, save_figure
from games.textworld.maps import STEPS, Map, Passage

WIDTH, HEIGHT, GAP = 2.3, 1.25, 0.6  # of a room that lists its things, and between rooms, in inches
CHARACTERS, LINES = 34, 5  # at most in a line of a room's list of things, and in the list
ROUTE, INK, PALE = PALETTE[2], "#333333", "#9a9a9a"
# state of a door -> (colour's name in the caption, colour)
DOORS = {"open": ("white", "white"), "closed": ("yellow", PALETTE[4]), "locked": ("red", PALETTE[1])}


def draw_map(game_map: Map, title: str, path: Path) -> None:
    """Draw a map. The suffix of `path` sets the image format."""
    lines = {key: _lines(room.things) for key, room in game_map.rooms.items()}
    most_lines = max(map(len, lines.values()))
    width, height = room_size = (WIDTH if most_lines else 1.5, 0.5 + (HEIGHT - 0.5) * most_lines / LINES)
    columns, rows = (1 + max(cells) for cells in zip(*(room.cell for room in game_map.rooms.values()), strict=True))
    total_width, total_height = max(columns * (width + GAP), 5), rows * (height + GAP)
    caption = _caption(game_map, int(total_width * 13))
    caption_height = 0.16 * (caption.count("\n") + 1) + 0.2
    figure, axes = make_figure(1, 1, total_width, total_height + caption_height + 0.35)
    axes.set(
        xlim=(-GAP / 2, total_width - GAP / 2), ylim=(total_height - GAP / 2 + caption_height, -GAP / 2), aspect="equal"
    )
    axes.axis("off")
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    for passage in game_map.passages:
        _passage(axes, game_map, passage, room_size)
    for key in game_map.rooms:
        _room(axes, game_map, key, lines[key], room_size)
    axes.text(0, total_height - GAP / 2 + 0.1, caption, fontsize=7, va="top", color=INK, linespacing=1.35)
    save_figure(figure, path)


def _lines(things: tuple[str, ...]) -> list[str]:
    lines = [line for thing in things for line in textwrap.wrap(thing, CHARACTERS, subsequent_indent="   ")]
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} lines more"]


def _caption(game_map: Map, width: int) -> str:
    carried = f"carried: {', '.join(game_map.carried)}\n" if game_map.carried else ""
    states = Counter(passage.state for passage in game_map.passages if passage.door)
    doors = ", ".join(f"{state} ({color})" for state, (color, _) in DOORS.items() if states[state])
    doors = f"doors: {doors}\n" if doors else ""
    return carried + doors + textwrap.fill("to win: " + " > ".join(game_map.walkthrough), width)


def _corner(cell: tuple[int, int], room_size: tuple[float, float]) -> tuple[float, float]:
    return cell[0] * (room_size[0] + GAP), cell[1] * (room_size[1] + GAP)


def _room(axes: Any, game_map: Map, key: str, lines: list[str], room_size: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    room, start = game_map.rooms[key], key == game_map.start
    x, y = _corner(room.cell, room_size)
    shape = FancyBboxPatch(
        (x, y), *room_size, boxstyle="round,pad=0,rounding_size=0.08", fc="#eaf6f1" if start else "white",
        ec=ROUTE if key in game_map.route else PALE, lw=2.2 if start else 1.3, zorder=3,
    )  # fmt: skip
    axes.add_patch(shape)
    label = f"{room.name} (start)" if start else room.name
    axes.text(x + room_size[0] / 2, y + 0.22, textwrap.shorten(label, 30, placeholder="…"), ha="center", va="center",
              fontsize=8.5, weight="bold", color=INK, zorder=4)  # fmt: skip
    axes.text(x + 0.1, y + 0.4, "\n".join(lines), fontsize=6.5, va="top", color=INK, linespacing=1.25, zorder=4)


def _passage(axes: Any, game_map: Map, passage: Passage, room_size: tuple[float, float]) -> None:
    walls, step = [], STEPS[passage.direction]
    for key, side in zip(passage.rooms, (1, -1), strict=True):
        x, y = _corner(game_map.rooms[key].cell, room_size)
        walls.append((x + room_size[0] / 2 * (1 + side * step[0]), y + room_size[1] / 2 * (1 + side * step[1])))
    walked = any(set(passage.rooms) == set(pair) for pair in zip(game_map.route, game_map.route[1:], strict=False))
    (x, y), (x2, y2) = walls
    axes.plot(
        [x, x2], [y, y2], color=ROUTE if walked else PALE, lw=3 if walked else 1.5, zorder=2, solid_capstyle="butt"
    )
    if passage.door:
        middle = ((x + x2) / 2, (y + y2) / 2)
        axes.plot(*middle, "s", ms=8, mfc=DOORS[passage.state][1], mec=INK, mew=1, zorder=5)
        name = "\n".join(textwrap.wrap(passage.door, 11 if step[0] else 40))
        placement = (
            {"xytext": (0, 7), "ha": "center", "va": "bottom"} if step[0] else {"xytext": (8, 0), "va": "center"}
        )
        axes.annotate(name, middle, textcoords="offset points", fontsize=5.5, color=INK, zorder=5, **placement)
