"""An environment that misbehaves: it fails, returns wrong values, or changes its process.

The game itself is simple: two turns with the commands `left` and `right`, and a reward of 1 in the second turn.
"""

import ctypes
import math
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import UserDict, UserString
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.faults.hostile_objects import Foreign, Hostile, HostileDict, HostileText, MuteError

LOG = "MISBEHAVED"  # the variable with the path of a file to which each misbehaving episode appends its seed


def _raises(error: Callable[[], BaseException]) -> Callable[[Any], Any]:
    def act(value: Any) -> Any:
        raise error()

    return act


def _does(work: Callable[[], object]) -> Callable[[Any], Any]:
    def act(value: Any) -> Any:
        work()
        return value

    return act


def _returns(other: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda value: other()


def _overflow(depth: int = 0) -> int:
    return _overflow(depth + 1) + 1


def _sleep_and_catch() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(1000)


def _start_thread(*, daemon: bool) -> None:
    threading.Thread(target=time.sleep, args=(1000,), daemon=daemon).start()


def _change_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep() -> Any:
    value: Any = "deep"
    for _ in range(100_000):
        value = [value]
    return value


ERRORS: dict[str, Callable[[], BaseException]] = {
    "OSError": lambda: OSError(28, "No space left on device", "/somewhere"), "MemoryError": MemoryError,
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"), "StopIteration": StopIteration,
    "SystemExit": lambda: SystemExit(0), "SystemExit text": lambda: SystemExit("bye"),
    "KeyError": lambda: KeyError("x"), "GeneratorExit": GeneratorExit, "Mute": MuteError, "Foreign": Foreign,
    "Timeout": lambda: TimeoutError("too late"), "Broken pipe": lambda: BrokenPipeError(32, "Broken pipe"),
    "EOFError": EOFError, "AssertionError": AssertionError,
    "many lines": lambda: ValueError("one\ntwo\x1b[2J\r[red]three[/]"), "long": lambda: ValueError("x" * 100_000),
    "surrogate": lambda: ValueError("\ud800"),
    "group": lambda: ExceptionGroup("several", [ValueError("a"), OSError()]),
    "UnicodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "StopAsync": StopAsyncIteration,
}  # fmt: skip
ACTIONS: dict[str, Callable[[], object]] = {
    "overflows the stack": _overflow, "divides by zero": lambda: 1 // 0, "exits": lambda: os._exit(3),
    "exits with 0": lambda: os._exit(0), "crashes": lambda: ctypes.string_at(0), "aborts": os.abort,
    "kills itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminates": lambda: os.kill(os.getpid(), signal.SIGTERM), "sleeps": lambda: time.sleep(1000),
    "sleeps and catches": _sleep_and_catch, "forks": os.fork, "changes the folder": lambda: os.chdir("/"),
    "changes signals": _change_signals, "closes the streams": lambda: (sys.stdout.close(), sys.stderr.close()),
    "closes descriptors": lambda: os.closerange(0, 3), "prints": lambda: print("printed by the game"),
    "prints to descriptor 1": lambda: os.write(1, b"written\n"),
    "seeds generators": lambda: (random.seed(0), np.random.seed(0)),
    "deletes the run": lambda: shutil.rmtree("out", ignore_errors=True),
    "starts a thread": lambda: _start_thread(daemon=False), "starts a daemon": lambda: _start_thread(daemon=True),
    "lowers the recursion limit": lambda: sys.setrecursionlimit(200),
    "replaces the streams": lambda: setattr(sys, "stdout", None), "changes the environment": os.environ.clear,
    "changes the mask": lambda: os.umask(0o777), "warns": lambda: __import__("warnings").warn("careful"),
    "limits files": lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_FSIZE, (0, -1)),
}  # fmt: skip
TEXTS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "bytes": lambda: b"text", "number": lambda: 7, "enormous": lambda: "word " * 4_000_000,
    "surrogate": lambda: "\ud800", "NUL": lambda: "a\0b", "control": lambda: "\x1b[2J\r\x07[red]x[/]", "empty": str,
    "generator": lambda: (c for c in "text"), "list": lambda: ["a", b"b"], "circle": _circle, "deep": _deep,
    "class": lambda: str, "hostile": Hostile, "hostile text": lambda: HostileText("text"),
    "user string": lambda: UserString("text"), "array": lambda: np.array(["a", "b"]),
    "objects": lambda: np.array([_circle()], object), "special tokens": lambda: "<|endoftext|></s><unk>\n> left",
    "one long word": lambda: "x" * 900_000, "long": lambda: "word " * 50_000,
}  # fmt: skip
NUMBERS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "NaN": lambda: math.nan, "infinite": lambda: -math.inf, "complex": lambda: 1j,
    "text": lambda: "1", "bytes": lambda: b"1", "bool": lambda: True, "huge": lambda: 10**400, "1e308": lambda: 1e308,
    "1e30": lambda: 1e30, "float32": lambda: np.float32(1), "int8": lambda: np.int8(1), "array": lambda: np.ones(3),
    "scalar": lambda: np.array(1.0), "tensor": lambda: __import__("torch").tensor(1.0, requires_grad=True),
    "list": lambda: [1.0], "hostile": Hostile, "NaN of numpy": lambda: np.float32("nan"),
    "date": lambda: np.datetime64("2020-01-01"), "negative zero": lambda: -0.0,
}  # fmt: skip
COMMANDS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "empty": list, "empty text": lambda: [""], "blank": lambda: [" ", "left"],
    "twice": lambda: ["left", "left"], "almost twice": lambda: ["left", "left ", "Left"],
    "over-long": lambda: ["x" * 201], "newline": lambda: ["go\nleft", "right"], "numbers": lambda: [1, 2],
    "bytes": lambda: [b"left"], "generator": lambda: (c for c in ("left", "right")),
    "surrogate": lambda: ["\ud800", "left"], "control": lambda: ["\x1b[2J", "a\0b", "right"],
    "markup": lambda: ["[red]left[/]", ":smile:"], "text": lambda: "left", "dict": lambda: {"left": 1},
    "tuple": lambda: ("left", "right"), "set": lambda: {"left", "right"}, "array": lambda: np.array(["left", "right"]),
    "matrix": lambda: np.array([["left", "right"]]), "hostile": Hostile,
    "hostile texts": lambda: [HostileText("left"), "right"], "many": lambda: [f"go {i}" for i in range(20_000)],
    "special tokens": lambda: ["<|endoftext|>", "</s>"], "one": lambda: ["left"],
    "accents": lambda: ["\u00e9", "e\u0301"],
}  # fmt: skip
FLAGS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "text": lambda: "no", "number": lambda: 2, "float": lambda: 1.0,
    "numpy": lambda: np.bool_(True), "array": lambda: np.array([True, False]), "hostile": Hostile, "list": list,
    "NaN": lambda: math.nan,
}  # fmt: skip
RESULTS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "text": lambda: "text", "empty tuple": tuple, "four": lambda: ("a", 1.0, False, {}),
    "six": lambda: ("a", 1.0, False, False, {}, 7), "list": lambda: ["a", 1.0, False, False, {}], "hostile": Hostile,
    "generator": lambda: iter(("a", {})), "itself": lambda: Misbehaving, "exception": lambda: ValueError("x"),
}  # fmt: skip
INFOS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "list": list, "numbers as keys": lambda: {1: 2, None: 3}, "hostile": Hostile,
    "hostile dict": lambda: HostileDict(score=1),
    "user dict": lambda: UserDict({"admissible_commands": ["left", "right"]}),
    "enormous": lambda: {f"key {i}": "x" * 1000 for i in range(20_000)},
    "module": lambda: {"env": sys, "admissible_commands": ["left", "up"]},
    "circle": lambda: {"c": _circle(), "admissible_commands": ["left", "up"]},
}  # fmt: skip
# for entries of the info dict and attributes of the environment that this project uses
OURS: dict[str, Callable[[], Any]] = {
    "text": lambda: "text", "number": lambda: 7, "list": list, "dict": dict, "None": lambda: None, "hostile": Hostile,
    "list of lists": lambda: [[1], [2]], "negative": lambda: -1, "lone surrogate": lambda: "\ud800",
}  # fmt: skip
ENTRIES = ("strategy", "continuation", "unscored", "policy_commands", "extra.walkthrough", "max_tokens", "newlines",
           "prompt", "completion", "description", "inventory", "objective", "location", "feedback",
           "error")  # fmt: skip
CALLS = ("constructor", "spaces", "reset", "step", "close")
Behaviour = Callable[[Any], Any]
RAISED: dict[str, Behaviour] = {f"raises {name}": _raises(error) for name, error in ERRORS.items()}
DONE: dict[str, Behaviour] = {name: _does(work) for name, work in ACTIONS.items()}


def _all(table: dict[str, Callable[[], Any]]) -> dict[str, Behaviour]:
    return {name: _returns(value) for name, value in table.items()}


PLACES: dict[str, dict[str, Behaviour]] = {
    **dict.fromkeys(CALLS, RAISED | DONE), "spaces": RAISED | DONE | _all(RESULTS), "metadata": RAISED | _all(OURS),
    "prompt": _all(TEXTS), "terminator": _all(TEXTS), "observation": _all(TEXTS), "reward": _all(NUMBERS),
    "terminated": _all(FLAGS), "truncated": _all(FLAGS), "won": _all(FLAGS), "lost": _all(FLAGS),
    "score": _all(NUMBERS), "max_score": _all(NUMBERS), "moves": _all(NUMBERS), "commands": _all(COMMANDS),
    "result": _all(RESULTS), "result of reset": _all(RESULTS), "info": _all(INFOS), "info of reset": _all(INFOS),
    "vocabulary": _all(OURS), "strategies": _all(OURS), "unwrapped": RAISED | _all(OURS),
    **{f"info {name}": _all(OURS) for name in ENTRIES},
}  # fmt: skip
"""Place -> name of a fault -> function that receives the correct value, and raises, acts, or returns a wrong value."""


class Misbehaving(gymnasium.Env[Any, Any]):
    """A simple game with the fault `what` at the place `where` (see `PLACES`).

    It misbehaves before its first episode, and in episodes whose seed is a multiple of `every`.
    """

    def __init__(self, where: str = "", what: str = "", every: int = 1) -> None:
        self.where, self.what, self.every = where, what, every
        self.is_chosen, self.recorded, self.turns, self.seed = True, False, 0, 0
        self._act("constructor", None)

    @property
    def action_space(self) -> Any:  # type: ignore[override]
        return self._act("spaces", gymnasium.spaces.Text(99))

    observation_space = action_space

    @property
    def metadata(self) -> Any:  # type: ignore[override]
        usual = {"prompt": self._act("prompt", "\n> "), "terminator": self._act("terminator", "\n")}
        return self._act("metadata", usual | {"render_modes": []})

    @property
    def vocabulary(self) -> Any:
        return self._act("vocabulary", None)

    @property
    def strategies(self) -> Any:
        return self._act("strategies", ())

    @property
    def unwrapped(self) -> Any:
        return self._act("unwrapped", self)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.turns, self.recorded = 0, False
        self.seed = seed or 0
        self.is_chosen = self.seed % self.every == 0
        self._act("reset", None)
        info = self._act("info of reset", self._info())
        return self._act("result of reset", (self._act("observation", "Left or right?"), info))

    def step(self, action: Any) -> Any:
        self.turns += 1
        self._act("step", None)
        ended = self.turns == 2
        terminated, truncated = self._act("terminated", ended), self._act("truncated", False)
        result = (f"You go {action}.", self._act("reward", float(ended)), terminated, truncated)
        return self._act("result", (*result, self._act("info", self._info())))

    def close(self) -> None:
        self._act("close", None)

    def _info(self) -> dict[str, Any]:
        commands = self._act("commands", ["left", "right"])
        info: dict[str, Any] = {"admissible_commands": commands, "policy_commands": ["left"]}
        names = ("won", "lost", "score", "max_score", "moves")
        entries = {name: name for name in names} | {f"info {name}": name for name in ENTRIES}
        if self.where in entries and self.is_chosen:
            info[entries[self.where]] = self._act(self.where, None)
        return info

    def _act(self, place: str, value: Any) -> Any:
        """Return the value, or misbehave if `place` has the fault and the current episode misbehaves."""
        if place != self.where or not self.is_chosen:
            return value
        if not self.recorded and LOG in os.environ:
            self.recorded = True
            with suppress(OSError), Path(os.environ[LOG]).open("a") as log:
                log.write(f"{self.seed}\n")
        return PLACES[place][self.what](value)
