"""TextWorld's interpreter, one per game: played, wound back to any moment, and asked where it stands.

The same set-up as TextWorld's own environment gives it (`textworld.envs.wrappers.tw_inform7`): score and moves
are printed after every turn and actions are traced; TextWorld's own functions take both out of the text again.
What the trace means for the record is `games/textworld/transitions/game_state.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.ctypeslib import as_ctypes

from games.errors import GameError

TRACE = "tw-trace-actions"
EXTRA = "tw-extra-infos {}"
NUMBERS = ("moves", "score")
TABLE_AT, DEFAULTS, ENTRY, LINKS = 10, 126, 14, slice(6, 12)
"""Objects of a Z-machine of version 8: where the header gives the table's address, bytes of property defaults
before the first entry, bytes of an entry, and in it parent, sibling and child."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the interpreter printed for one command, taken apart."""

    text: str
    """Without traces and numbers, not yet stripped."""
    events: tuple[str, ...]
    """Names of the actions that succeeded, in order."""
    score: int | None
    """None where the command took no turn; it is then what it was. So are the moves."""
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
    """A moment of the interpreter, as what differs from its start."""

    addresses: np.ndarray[Any, np.dtype[np.uint16]]
    """Cells of the dynamic memory (at most 64 KB) that differ."""
    values: np.ndarray[Any, np.dtype[np.uint8]]
    registers: tuple[Any, ...]
    """Stack, program counter, stack and frame pointers, opcode, random numbers, last text; shared where equal."""

    @property
    def size(self) -> int:
        """Bytes that this moment alone holds, about."""
        return 3 * len(self.addresses) + 400


class Interpreter:
    """The interpreter of one story (`.z8`, its name beginning with `tw-`). Not for several threads at once."""

    def __init__(self, story: Path) -> None:
        import warnings

        import jericho

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jericho.UnsupportedGameWarning)
            self._frotz: Any = jericho.FrotzEnv(str(story))
        self.opening, _ = self._frotz.reset()
        """The text before the first command."""
        self._at: Snapshot | None = None
        """The moment at which it stands; None where it has moved on since."""
        for command in (*(EXTRA.format(name) for name in NUMBERS), TRACE):
            output = _take_apart(self._say(command), NUMBERS)
        if output.score is None or output.moves is None:
            raise GameError(f"{story}: TextWorld cannot read this game (it does not say its score)")
        self.score, self.moves = output.score, output.moves
        lib = self._frotz.frotz_lib
        self._ram = np.zeros(lib.getRAMSize(), dtype=np.uint8)
        self._stack = np.zeros(lib.getStackSize(), dtype=np.uint8)
        self._passed = as_ctypes(self._ram), as_ctypes(self._stack)
        """The same two, as the library takes them."""
        self._registers = self._read()
        self._base = self._ram.copy()
        self._objects = _object_entries(self._base)
        self.start = self.save()

    def step(self, command: str, extras: tuple[str, ...] = ()) -> Output:
        """Play one command; `extras` are what `describe` was asked for before."""
        return _take_apart(self._say(command), (*extras, *NUMBERS))

    def describe(self, names: tuple[str, ...]) -> dict[str, str]:
        """`description` and `inventory` as they are here; moves on, so wind back afterwards."""
        found = {}
        for name in names:
            found.update(_take_apart(self._say(EXTRA.format(name)), (name,)).extras)
        return found

    def save(self) -> Snapshot:
        """This moment."""
        registers = self._read()
        differs = np.flatnonzero(self._ram != self._base)
        kept = tuple(_shared(new, old) for new, old in zip(registers, self._registers, strict=True))
        self._at = Snapshot(differs.astype(np.uint16), self._ram[differs], kept)
        return self._at

    def load(self, moment: Snapshot) -> None:
        """Wind to a moment of this story, saved by this or another machine."""
        if moment is not self._at:
            np.copyto(self._ram, self._base)
            self._ram[moment.addresses] = moment.values
            self._write(moment.registers)
            self._at = moment

    def _read(self) -> tuple[Any, ...]:
        """Read the memory into `_ram`, and the registers: jericho's `get_state` without its new arrays."""
        lib, (ram, stack) = self._frotz.frotz_lib, self._passed
        lib.getRAM(ram)
        lib.getStack(stack)
        random = lib.getRngA(), lib.getRngInterval(), lib.getRngCounter()
        narrative = lib.get_narrative_text()
        numbers = lib.getPC(), lib.getSP(), lib.getFP(), lib.getFrameCount(), lib.get_opcode()
        return self._stack.copy(), *numbers, random, narrative

    def _write(self, registers: tuple[Any, ...]) -> None:
        """Set the memory to `_ram`, and the registers (jericho's `set_state`)."""
        values, counter, stack, frame, frames, opcode, random, narrative = registers
        np.copyto(self._stack, values)
        lib = self._frotz.frotz_lib
        lib.setRng(*random)
        lib.setRAM(self._passed[0])
        lib.setStack(self._passed[1])
        lib.setPC(counter)
        lib.setSP(stack)
        lib.setFP(frame)
        lib.set_opcode(opcode)
        lib.setFrameCount(frames)
        lib.set_narrative_text(narrative)

    def _say(self, command: str) -> str:
        """What the interpreter prints for a command. jericho's own `step` also works out score and victory, which
        mean nothing in TextWorld's games and take a twelfth of it."""
        self._at = None
        text: str = self._frotz.frotz_lib.step(command.encode() + b"\n").decode("cp1252")
        return text

    def close(self) -> None:
        """Free the interpreter."""
        self._frotz.close()

    def at_prompt(self, moment: Snapshot) -> bool:
        """Does it wait for a command as it did at the start, and not with a question or a menu?

        A question is asked, and its answer read, some calls deeper than a command.
        """
        return bool(moment.registers[1:5] == self._registers[1:5])

    def stack(self, moment: Snapshot) -> bytes:
        """What is on the stack: after some errors other local variables than usual; b"" as at the start."""
        stack = moment.registers[0]
        return b"" if stack is self._registers[0] else stack[2 * moment.registers[2] :].tobytes()

    def holders(self, moment: Snapshot) -> bytes:
        """Which object is in which, in which order: parent, sibling and child of every object."""
        ram = self._base.copy()
        ram[moment.addresses] = moment.values
        return bytes(ram[self._objects].tobytes())


def _take_apart(text: str, names: tuple[str, ...]) -> Output:
    """TextWorld's own reading of what was printed; `names` are the entries it was asked to print."""
    from textworld.envs.wrappers import tw_inform7

    extras, text = tw_inform7._detect_extra_infos(text, list(names))
    numbers = {name: _number(extras.pop(name, None)) for name in NUMBERS}
    events, text = tw_inform7._detect_i7_events_debug_tags(text)
    found = {name: value for name, value in extras.items() if value is not None}
    return Output(text, tuple(events), numbers["score"], numbers["moves"], found)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text.strip().split("\n")[0])


def _shared(new: Any, old: Any) -> Any:
    """`old` where both are equal, so that equal things are kept once."""
    same = np.array_equal(new, old) if isinstance(new, np.ndarray) else new == old
    return old if same else new


def _object_entries(ram: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Addresses of the links of every object. The first property list begins where the entries end."""
    first = int(ram[TABLE_AT]) * 256 + int(ram[TABLE_AT + 1]) + DEFAULTS
    end, count = len(ram), 0
    while first + (count + 1) * ENTRY <= end:
        at = first + count * ENTRY
        end = min(end, int(ram[at + 12]) * 256 + int(ram[at + 13]))
        count += 1
    starts = first + ENTRY * np.arange(count)[:, None]
    return (starts + np.arange(LINKS.start, LINKS.stop)).ravel()
