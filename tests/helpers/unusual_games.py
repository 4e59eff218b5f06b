"""TextWorld games that are unusual, as `GameMaker` and TextWorld's own challenges make them, without our mark."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from games.textworld.upstream.start import rules_parsed_once

if TYPE_CHECKING:
    from textworld import GameMaker

NAMES = {
    "number signs": ("key #2", "box #1", "table #3", "apple #10", "room #1", "door #4"),
    "apostrophes": ("bob's key", "ann's box", "chef's table", "eve's apple", "bob's room", "ann's door"),
    "hyphens": ("pass-key", "half-open box", "two-legged table", "crab-apple", "ante-room", "trap-door"),
    "full stops": ("no. 5 key", "st. box", "dr. table", "mr. apple", "no. 5 room", "p.o. door"),
    "commas": ("old, key", "big, red box", "low, wide table", "red, ripe apple", "dark, damp room", "tall, thin door"),
    "slashes": ("on/off key", "in/out box", "w/e table", "and/or apple", "n/a room", "yes/no door"),
    "signs": ("$5 key", "50% box", "a+ table", "r&d apple", "area *51*", "door = 1"),
    "brackets": ("key (old)", "box (1)", "table (low)", "apple (red)", "room (dark)", "door (tall)"),
    "colons": ("key: old", "box; red", "table: low", "apple: ripe", "room: dark", "door; tall"),
    "questions": ("key?", "what box?", "table!", "apple!", "where?", "door!"),
    "capitals": ("Brass KEY", "TV Box", "IKEA Table", "Granny Smith", "USA", "Door A"),
    "digits": ("1", "22", "333", "4444", "5", "66"),
    "conjunctions": ("lock and key", "salt then pepper", "table except one", "all apple", "both room", "each door"),
    "verbs": ("take", "open", "put", "eat", "go", "unlock"),
    "directions": ("north key", "south box", "east table", "west apple", "north", "south door"),
    "pronouns": ("it", "them", "this", "that", "him", "one"),
    "prepositions": (
        "key on ring",
        "box with lid",
        "table from oak",
        "apple into pie",
        "room in attic",
        "door to door",
    ),
    "long names": tuple(f"{' '.join(['very'] * 8)} old {noun}" for noun in "key box table apple room door".split()),
}
"""The names of a key, a container, a supporter, a food, a room and a door."""
