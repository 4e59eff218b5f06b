"""The interpreter of one TextWorld game, which can save snapshots of its state and restore them.

`Interpreter` calls Jericho's C library directly. Jericho's own `step` spends a twelfth of its time on a score and a
victory flag, which are meaningless for TextWorld's games.

As in TextWorld's environment (`textworld.envs.wrappers.tw_inform7`), the game prints further values after every turn:
the score, the number of moves, and the names of the actions that succeeded (the traces). TextWorld's own functions
parse this output and remove it from the text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from games.errors import GameError
from games.textworld.upstream.start import prepare_jericho, traced_events

EXTRA = "tw-extra-infos {}"
NUMBERS = ("moves", "score")
# The layout of the object table in version 8 of the Z-machine, in bytes: the position of its address in the header, the
# size of the defaults before its first entry, the size of an entry, and the parent, sibling and child in an entry.
TABLE_AT, DEFAULTS, ENTRY, LINKS = 10, 126, 14, range(6, 12)


@dataclass(frozen=True, slots=True)
class Output:
    """The parsed output of the interpreter for one command.

    `text` excludes traces, score and moves, and is not stripped. `events` names the actions that succeeded, in order.
    `score` and `moves` are the values after the command, or None if the command took no turn. `extras` holds the
    `description` and `inventory`, if they were printed.
    """

    text: str
    events: tuple[str, ...]
    score: int | None
    moves: int | None
    extras: dict[str, str]

    @property
    def won(self) -> bool:
        return "*** The End ***" in self.text

    @property
    def lost(self) -> bool:
        return "*** You lost! ***" in self.text

    @property
    def ended(self) -> bool:
        return self.won or self.lost


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the interpreter, stored as the difference from its state at the start of the game.

    `addresses` and `values` describe the bytes of the dynamic memory (at most 64 KB) that differ from the start.
    `registers` is a tuple (stack, program counter, stack pointer, frame pointer, frame count, opcode, state of the
    random numbers, last text). A register that is equal to its value at the start is stored once for all snapshots.
    """

    addresses: np.ndarray[Any, np.dtype[np.uint16]]
    values: np.ndarray[Any, np.dtype[np.uint8]]
    registers: tuple[Any, ...]

    @property
    def size(self) -> int:
        """The approximate size in bytes, without shared values."""
        return 3 * len(self.addresses) + 400


class Interpreter:
    """Interprets one story, a `.z8` file whose name begins with `tw-`. The class is not thread-safe."""

    def __init__(self, story: Path) -> None:
        import jericho

        prepare_jericho()
        self._frotz: Any = jericho.FrotzEnv(str(story))
        self.opening, _ = self._frotz.reset()
        self._current: Snapshot | None = None  # None if a command was sent since the last `save` or `load`
        for command in (*map(EXTRA.format, NUMBERS), "tw-trace-actions"):
            output = _parse(self._send(command), NUMBERS)
        if output.score is None or output.moves is None:
            raise GameError(f"{story}: TextWorld cannot read this game (it prints no score)")
        self.score, self.moves = output.score, output.moves
        self._base, *registers = self._frotz.get_state()
        self._registers = tuple(registers)
        self._links = _link_addresses(self._base)
        self.start = self.save()

    def step(self, command: str, extras: tuple[str, ...] = ()) -> Output:
        """Play one command. After `describe(names)`, pass `names` as `extras` until the next `load`."""
        return _parse(self._send(command), (*extras, *NUMBERS))

    def describe(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return the texts that `names` lists: `description`, `inventory` or both.

        From then on, the game prints these texts at every turn until the next `load`.
        """
        texts: dict[str, str] = {}
        for name in names:
            texts |= _parse(self._send(EXTRA.format(name)), (name,)).extras
        return texts

    def save(self) -> Snapshot:
        ram, *registers = self._frotz.get_state()
        addresses = np.flatnonzero(ram != self._base)
        shared = tuple(_share(new, old) for new, old in zip(registers, self._registers, strict=True))
        self._current = Snapshot(addresses.astype(np.uint16), ram[addresses], shared)
        return self._current

    def load(self, snapshot: Snapshot) -> None:
        """Restore a snapshot of this interpreter or of another interpreter of the same story."""
        if snapshot is not self._current:
            self._frotz.set_state((self._ram_of(snapshot), *snapshot.registers))
            self._current = snapshot

    def close(self) -> None:
        self._frotz.close()

    def at_prompt(self, snapshot: Snapshot) -> bool:
        """Return whether the interpreter waits for a command. Otherwise it waits for an answer to a question or a menu.

        The story asks a question in nested calls, so some registers then differ from those at the first prompt.
        """
        return bool(snapshot.registers[1:5] == self._registers[1:5])

    def stack(self, snapshot: Snapshot) -> bytes:
        """Return the contents of the stack, or b"" if they are the same as at the start of the game.

        They can differ even at a prompt, because some errors change local variables.
        """
        stack = snapshot.registers[0]
        return b"" if stack is self._registers[0] else stack[2 * snapshot.registers[2] :].tobytes()

    def object_tree(self, snapshot: Snapshot) -> bytes:
        """Return the parent, sibling and child of every object. They determine the order of each object's contents."""
        return bytes(self._ram_of(snapshot)[self._links].tobytes())

    def _ram_of(self, snapshot: Snapshot) -> np.ndarray[Any, np.dtype[np.uint8]]:
        ram: np.ndarray[Any, np.dtype[np.uint8]] = self._base.copy()
        ram[snapshot.addresses] = snapshot.values
        return ram

    def _send(self, command: str) -> str:
        self._current = None
        return str(self._frotz.frotz_lib.step(command.encode() + b"\n"), "cp1252")


def _parse(text: str, names: tuple[str, ...]) -> Output:
    """Parse an output with TextWorld's functions. `names` lists the values that the game prints after every turn."""
    from textworld.envs.wrappers.tw_inform7 import _detect_extra_infos

    entries, text = _detect_extra_infos(text, list(names))
    moves, score = (_number(entries.pop(name, None)) for name in NUMBERS)
    events, text = traced_events(text)
    extras = {name: value for name, value in entries.items() if value is not None}
    return Output(text, tuple(events), score, moves, extras)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text.strip().split("\n")[0])


def _share(new: Any, old: Any) -> Any:
    """Return `old` if both are equal, and `new` otherwise, so that equal values are stored only once."""
    same = np.array_equal(new, old) if isinstance(new, np.ndarray) else new == old
    return old if same else new


def _link_addresses(ram: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the addresses of the bytes that hold the parent, sibling and child of every object.

    The object table ends where the first property list begins.
    """
    first = int(ram[TABLE_AT]) * 256 + int(ram[TABLE_AT + 1]) + DEFAULTS
    end, count = len(ram), 0
    while first + (count + 1) * ENTRY <= end:
        at = first + count * ENTRY
        end = min(end, int(ram[at + 12]) * 256 + int(ram[at + 13]))
        count += 1
    starts = first + ENTRY * np.arange(count)[:, None]
    return (starts + np.arange(LINKS.start, LINKS.stop)).ravel()
