"""An interpreter that replaces `FrotzEnv.step` of Jericho 3.3.1 and can save and load its state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from games.errors import GameError
from games.textworld.upstream.start import prepare_jericho, traced_events

EXTRA_INFO_COMMAND = "tw-extra-infos {}"
COUNTERS = ("moves", "score")
# The layout of the object table in version 8 of the Z-machine, in bytes: the position of its address in the header, the
# size of the defaults before its first entry, the size of an entry, and the parent, sibling and child in an entry.
TABLE_ADDRESS, DEFAULTS_SIZE, ENTRY_SIZE, LINK_OFFSETS = 10, 126, 14, range(6, 12)


@dataclass(frozen=True, slots=True)
class Output:
    """The interpreter's output for one command."""

    text: str  # without traces, score and moves; not stripped
    events: tuple[str, ...]  # the names of the actions that succeeded
    score: int | None  # None if the command took no turn
    moves: int | None
    extras: dict[str, str]  # the `description` and the `inventory`, if they were printed

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
    """A state of the interpreter, stored as the difference from the start of the game."""

    addresses: np.ndarray[Any, np.dtype[np.uint16]]  # of the changed bytes of the dynamic memory
    values: np.ndarray[Any, np.dtype[np.uint8]]
    # stack, program counter, stack pointer, frame pointer, frame count, opcode, random state, last text
    registers: tuple[Any, ...]

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        return 3 * len(self.addresses) + 400


class Interpreter:
    """Plays a TextWorld game from a file `tw-NAME.z8`. Not thread-safe."""

    def __init__(self, story: Path) -> None:
        import jericho

        prepare_jericho()
        self._frotz: Any = jericho.FrotzEnv(str(story))
        self.opening, _ = self._frotz.reset()
        self._current: Snapshot | None = None  # None if a command was sent since the last `save` or `load`
        # from now on, the game prints these values after every turn
        for command in (*map(EXTRA_INFO_COMMAND.format, COUNTERS), "tw-trace-actions"):
            output = _parse_output(self._send(command), COUNTERS)
        if output.score is None or output.moves is None:
            raise GameError(f"{story}: TextWorld cannot read this game (it prints no score)")
        self.score, self.moves = output.score, output.moves
        self._base, *registers = self._frotz.get_state()
        self._registers = tuple(registers)
        self._links = _link_addresses(self._base)
        self.start = self.save()

    def step(self, command: str, extras: tuple[str, ...] = ()) -> Output:
        """Play one command. `extras` are the names that were passed to `describe` since the last `load`."""
        return _parse_output(self._send(command), (*extras, *COUNTERS))

    def describe(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return a dict from `names`, such as `inventory`, to the game's texts.

        Until the next `load`, the game prints these texts after every command.
        """
        texts: dict[str, str] = {}
        for name in names:
            texts |= _parse_output(self._send(EXTRA_INFO_COMMAND.format(name)), (name,)).extras
        return texts

    def save(self) -> Snapshot:
        ram, *registers = self._frotz.get_state()
        addresses = np.flatnonzero(ram != self._base)
        shared = tuple(_reuse_if_equal(new, old) for new, old in zip(registers, self._registers, strict=True))
        self._current = Snapshot(addresses.astype(np.uint16), ram[addresses], shared)
        return self._current

    def load(self, snapshot: Snapshot) -> None:
        """Restore a snapshot, which another interpreter of the same game may have saved."""
        if snapshot is not self._current:
            self._frotz.set_state((self._ram_of(snapshot), *snapshot.registers))
            self._current = snapshot

    def close(self) -> None:
        self._frotz.close()

    def at_prompt(self, snapshot: Snapshot) -> bool:
        """Return whether the interpreter waits for a command rather than for an answer to a question."""
        return bool(snapshot.registers[1:5] == self._registers[1:5])  # a question is asked in nested calls

    def stack(self, snapshot: Snapshot) -> bytes:
        """Return the stack, or empty bytes if unchanged since the start."""
        stack = snapshot.registers[0]  # differs at some prompts, because some errors change local variables
        return b"" if stack is self._registers[0] else stack[2 * snapshot.registers[2] :].tobytes()

    def object_tree(self, snapshot: Snapshot) -> bytes:
        """Return the bytes that store the parent, sibling and child of every object."""
        return bytes(self._ram_of(snapshot)[self._links].tobytes())

    def _ram_of(self, snapshot: Snapshot) -> np.ndarray[Any, np.dtype[np.uint8]]:
        ram: np.ndarray[Any, np.dtype[np.uint8]] = self._base.copy()
        ram[snapshot.addresses] = snapshot.values
        return ram

    def _send(self, command: str) -> str:
        self._current = None
        return str(self._frotz.frotz_lib.step(command.encode() + b"\n"), "cp1252")


def _parse_output(text: str, names: tuple[str, ...]) -> Output:
    from textworld.envs.wrappers.tw_inform7 import _detect_extra_infos

    entries, text = _detect_extra_infos(text, list(names))
    moves, score = (_parse_number(entries.pop(name, None)) for name in COUNTERS)
    events, text = traced_events(text)
    extras = {name: value for name, value in entries.items() if value is not None}
    return Output(text, tuple(events), score, moves, extras)


def _parse_number(text: str | None) -> int | None:
    return None if text is None else int(text.strip().split("\n")[0])


def _reuse_if_equal(new: Any, old: Any) -> Any:
    equal = np.array_equal(new, old) if isinstance(new, np.ndarray) else new == old
    return old if equal else new


def _link_addresses(ram: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    first_entry = int(ram[TABLE_ADDRESS]) * 256 + int(ram[TABLE_ADDRESS + 1]) + DEFAULTS_SIZE
    end, count = len(ram), 0
    while first_entry + (count + 1) * ENTRY_SIZE <= end:
        entry = first_entry + count * ENTRY_SIZE
        end = min(end, int(ram[entry + 12]) * 256 + int(ram[entry + 13]))  # the first property list ends the table
        count += 1
    starts = first_entry + ENTRY_SIZE * np.arange(count)[:, None]
    return (starts + np.arange(LINK_OFFSETS.start, LINK_OFFSETS.stop)).ravel()
