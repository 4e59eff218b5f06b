"""The interpreter of one TextWorld game, with snapshots: it plays from any moment that was saved.

It calls Jericho's C library directly. Jericho's own `get_state` and `set_state` allocate new arrays, and its `step`
also computes score and victory, which mean nothing in TextWorld's games and take a twelfth of its time. The set-up is
that of TextWorld's environment (`textworld.envs.wrappers.tw_inform7`): the game prints score and moves after every
turn and traces actions, and TextWorld's own functions remove both from the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.ctypeslib import as_ctypes

from games.errors import GameError
from games.textworld.upstream.start import traced_events

TRACE = "tw-trace-actions"
EXTRA = "tw-extra-infos {}"
NUMBERS = ("moves", "score")
TABLE_AT, DEFAULTS, ENTRY, LINKS = 10, 126, 14, slice(6, 12)
"""Objects of a Z-machine of version 8: the address in the header of the object table's address, bytes of property
defaults before the first entry, bytes of an entry, and its links: parent, sibling and child."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the interpreter printed for one command."""

    text: str
    """Without traces and numbers, not yet stripped."""
    events: tuple[str, ...]
    """Names of the actions that succeeded, in order."""
    score: int | None
    """None, like `moves`, where the command took no turn; both are then unchanged."""
    moves: int | None
    extras: dict[str, str]
    """`description` and `inventory`, where they were printed."""

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
    """The state of the interpreter, stored as its difference from the start of the game."""

    addresses: np.ndarray[Any, np.dtype[np.uint16]]
    """Addresses in the dynamic memory (at most 64 KB) that differ."""
    values: np.ndarray[Any, np.dtype[np.uint8]]
    registers: tuple[Any, ...]
    """Stack, program counter, stack and frame pointers, opcode, random numbers, last text; shared where equal."""

    @property
    def size(self) -> int:
        """The approximate number of bytes that only this snapshot holds."""
        return 3 * len(self.addresses) + 400


class Interpreter:
    """The interpreter of one story (a `.z8` file whose name begins with `tw-`). Not safe for threads."""

    def __init__(self, story: Path) -> None:
        import warnings

        import jericho

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jericho.UnsupportedGameWarning)
            self._frotz: Any = jericho.FrotzEnv(str(story))
        self.opening, _ = self._frotz.reset()
        """The text before the first command."""
        self._current: Snapshot | None = None
        """The snapshot that equals the interpreter's state; None once it has played on."""
        for command in (*(EXTRA.format(name) for name in NUMBERS), TRACE):
            output = _parse(self._send(command), NUMBERS)
        if output.score is None or output.moves is None:
            raise GameError(f"{story}: TextWorld cannot read this game (it prints no score)")
        self.score, self.moves = output.score, output.moves
        lib = self._frotz.frotz_lib
        self._ram = np.zeros(lib.getRAMSize(), dtype=np.uint8)
        self._stack = np.zeros(lib.getStackSize(), dtype=np.uint8)
        self._buffers = as_ctypes(self._ram), as_ctypes(self._stack)
        """The same two arrays for the library."""
        self._registers = self._read()
        self._base = self._ram.copy()
        self._links = _link_addresses(self._base)
        self.start = self.save()

    def step(self, command: str, extras: tuple[str, ...] = ()) -> Output:
        """Play one command; `extras` are the names that `describe` was called with before."""
        return _parse(self._send(command), (*extras, *NUMBERS))

    def describe(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return `description` and `inventory`. This changes the state: load a snapshot afterwards."""
        extras = {}
        for name in names:
            extras.update(_parse(self._send(EXTRA.format(name)), (name,)).extras)
        return extras

    def save(self) -> Snapshot:
        """Return a snapshot of the present state."""
        registers = self._read()
        addresses = np.flatnonzero(self._ram != self._base)
        shared = tuple(_share(new, old) for new, old in zip(registers, self._registers, strict=True))
        self._current = Snapshot(addresses.astype(np.uint16), self._ram[addresses], shared)
        return self._current

    def load(self, snapshot: Snapshot) -> None:
        """Restore a snapshot of this story, saved by this or another interpreter."""
        if snapshot is not self._current:
            np.copyto(self._ram, self._base)
            self._ram[snapshot.addresses] = snapshot.values
            self._write(snapshot.registers)
            self._current = snapshot

    def close(self) -> None:
        """Free the interpreter."""
        self._frotz.close()

    def at_prompt(self, snapshot: Snapshot) -> bool:
        """Return whether the interpreter waits for a command, and not for the answer to a question or a menu.

        A question is printed, and its answer read, some calls deeper than a command.
        """
        return bool(snapshot.registers[1:5] == self._registers[1:5])

    def stack(self, snapshot: Snapshot) -> bytes:
        """Return what is on the stack, b"" where it is as at the start; after some errors local variables differ."""
        stack = snapshot.registers[0]
        return b"" if stack is self._registers[0] else stack[2 * snapshot.registers[2] :].tobytes()

    def object_tree(self, snapshot: Snapshot) -> bytes:
        """Return parent, sibling and child of every object: which object lies in which, in which order."""
        ram = self._base.copy()
        ram[snapshot.addresses] = snapshot.values
        return bytes(ram[self._links].tobytes())

    def _read(self) -> tuple[Any, ...]:
        """Read the memory into `_ram` and return the registers (Jericho's `get_state`)."""
        lib, (ram, stack) = self._frotz.frotz_lib, self._buffers
        lib.getRAM(ram)
        lib.getStack(stack)
        random = lib.getRngA(), lib.getRngInterval(), lib.getRngCounter()
        narrative = lib.get_narrative_text()
        numbers = lib.getPC(), lib.getSP(), lib.getFP(), lib.getFrameCount(), lib.get_opcode()
        return self._stack.copy(), *numbers, random, narrative

    def _write(self, registers: tuple[Any, ...]) -> None:
        """Write `_ram` and the registers to the interpreter (Jericho's `set_state`)."""
        values, counter, stack, frame, frames, opcode, random, narrative = registers
        np.copyto(self._stack, values)
        lib = self._frotz.frotz_lib
        lib.setRng(*random)
        lib.setRAM(self._buffers[0])
        lib.setStack(self._buffers[1])
        lib.setPC(counter)
        lib.setSP(stack)
        lib.setFP(frame)
        lib.set_opcode(opcode)
        lib.setFrameCount(frames)
        lib.set_narrative_text(narrative)

    def _send(self, command: str) -> str:
        self._current = None
        text: str = self._frotz.frotz_lib.step(command.encode() + b"\n").decode("cp1252")
        return text


def _parse(text: str, names: tuple[str, ...]) -> Output:
    """Parse the interpreter's text with TextWorld's functions; `names` are the entries that it was told to print."""
    from textworld.envs.wrappers.tw_inform7 import _detect_extra_infos

    entries, text = _detect_extra_infos(text, list(names))
    moves, score = (_number(entries.pop(name, None)) for name in NUMBERS)
    events, text = traced_events(text)
    extras = {name: value for name, value in entries.items() if value is not None}
    return Output(text, tuple(events), score, moves, extras)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text.strip().split("\n")[0])


def _share(new: Any, old: Any) -> Any:
    """Return `old` where both are equal, so that equal values are stored once."""
    same = np.array_equal(new, old) if isinstance(new, np.ndarray) else new == old
    return old if same else new


def _link_addresses(ram: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the addresses of the links of all objects. The first property list begins where the entries end."""
    first = int(ram[TABLE_AT]) * 256 + int(ram[TABLE_AT + 1]) + DEFAULTS
    end, count = len(ram), 0
    while first + (count + 1) * ENTRY <= end:
        at = first + count * ENTRY
        end = min(end, int(ram[at + 12]) * 256 + int(ram[at + 13]))
        count += 1
    starts = first + ENTRY * np.arange(count)[:, None]
    return (starts + np.arange(LINKS.start, LINKS.stop)).ravel()
