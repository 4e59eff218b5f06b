"""The cases of `benchmarks.faults.ranks`: training runs of two processes, and what ends each run."""

import itertools
import random
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.faults.rank_launch import Fault

ITERATIONS = 6
COMMON = ("--trunk", "pico", "--epochs", "1", "--save-every", "2")
GAMES = {
    "bandit": ("--game", "bandit", "--episodes", "30", "--parallel", "30"),
    "ipd": ("--game", "ipd", "--episodes", "4", "--parallel", "4"),
    "coin": ("--game", "textworld:coin?level=1&seed=1", "--episodes", "4", "--parallel", "4", "--max-turns", "8"),
    "file": ("--game", "{}/guess.py:Guess", "--episodes", "4", "--parallel", "4"),
}
OPTIMIZERS = {"ppo": (), "actde": (), "grpo": ("--group-size", "2")}
LIMITS = {
    "iterations": ("--iterations", "3"),
    "env-steps": ("--iterations", "6", "--env-steps", "100"),
    "minutes": ("--iterations", "6", "--minutes", "0.001"),
    "stop-success": ("--iterations", "6", "--stop-success", "0.01"),
}
WITHOUT_LIMITS = ("--iterations", str(ITERATIONS), "--env-steps", "none", "--minutes", "none", "--stop-success", "none")
GUESS = """\
import os

import gymnasium

import games

FAULT, RANK, AFTER, METRICS = (os.environ.get("FAULT" + name, "") for name in ("", "_RANK", "_AFTER", "_METRICS"))
MINE = RANK == os.environ.get("RANK")
if MINE and FAULT == "import":
    raise ImportError("no driver")


def is_due():
    return MINE and os.path.exists(METRICS) and len(open(METRICS).readlines()) >= int(AFTER)


class Broken(games.GameError):
    def __init__(self, device, number):
        super().__init__(f"{device} {number} is broken")


class Guess(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(100)

    def __init__(self):
        if MINE and FAULT == "make":
            raise Broken("device", 3)

    def reset(self, seed=None, options=None):
        self.turn, self.right = 0, seed % 3
        self.fault = FAULT if is_due() else ""
        if self.fault == "reset":
            raise OSError("no such device")
        if self.fault == "own":
            raise Broken("device", 3)
        return "Which word?", {"admissible_commands": ["red", "green", "blue"]}

    def step(self, command):
        self.turn += 1
        if self.fault == "step":
            raise RuntimeError("the device was removed")
        if self.fault == "exit":
            raise SystemExit(3)
        if self.fault == "native":
            os._exit(3)
        right = command == ["red", "green", "blue"][self.right]
        reward = {"huge": 1e30, "nan": float("nan")}.get(self.fault, float(right))
        done = right or self.turn == 3
        return "Yes" if right else "No", reward, done, False, {"admissible_commands": [] if done else ["red", "blue"]}
"""
# what `accelerate launch` sets for a trunk that is sharded over processes on the CPU
SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_USE_CPU": "true",
           "OMP_NUM_THREADS": "1"}  # fmt: skip
OWN_FAULTS = ("reset", "step", "own", "exit", "native", "huge", "nan", "make", "import")
SIGNALS, TARGETS = ("SIGINT", "SIGTERM", "SIGKILL"), ("0", "1", "launcher")
CALLS = {"start": 1, "rollout": 5, "update": 5, "checkpoint": 3}
"""Phase of a run in which a signal comes -> how often each process calls the phase's function at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A training run of two processes, and what ends it.

    Attributes:
        launcher: "forked", "alone" (forked, without supervision), "torchrun" or "accelerate".
        what: what ends the run: "limit", "signal", "game" (the game of one process fails) or "disk" (no space is left).
        detail: name of the limit or of the signal, or how the game fails.
        rank: the process whose game fails.
        sharded: whether the trunk is sharded.
    """

    number: int
    game: str
    optimizer: str
    launcher: str
    what: str
    detail: str = ""
    rank: int = 1
    fault: Fault | None = None
    sharded: bool = False

    @property
    def setting(self) -> tuple[str, str]:
        return self.game, self.optimizer

    @property
    def statuses(self) -> set[int]:
        """The exit statuses that the processes may have. The set is empty if any status is allowed."""
        if self.detail == "native":
            return {1, 3, -15}
        if self.detail == "huge":
            return {1}  # the training diverges
        if self.detail == "SIGINT":
            return {130}
        if self.detail == "SIGKILL" and self.fault and self.fault.target == "launcher" and self.launcher != "alone":
            return {-15}  # the kernel ends the processes
        return {"limit": {0}, "game": {2}, "disk": {1}, "signal": set()}[self.what]

    @property
    def may_be_late(self) -> bool:
        """Whether the signal may come after the end of the run."""
        if self.what != "signal" or self.fault is None:
            return False
        if self.fault.phase in ("checkpoint", "gather"):
            return self.fault.number == 3
        return self.launcher in ("torchrun", "accelerate") and self.fault.number == 5

    @property
    def least_errors(self) -> int:
        """The smallest number of errors that the two processes must print in total.

        If one process is lost, the other prints an error, unless a launcher ends it first. After Ctrl-C, it prints a
        note.
        """
        is_lost = self.fault and self.fault.target != "launcher" and self.detail in ("SIGTERM", "SIGKILL")
        return int((self.launcher == "alone" and bool(is_lost)) or self.what == "disk" or self.what == "game")

    def variables(self, work: Path) -> dict[str, str]:
        """Return the run's environment variables. If `what` is "game", they make one process's game fail."""
        if self.what != "game":
            return self.lasting
        when = {"FAULT_AFTER": str(1 + self.number % 3), "FAULT_METRICS": str(work / "run" / "metrics.jsonl")}
        return {"FAULT": self.detail, "FAULT_RANK": str(self.rank), **when, **self.lasting}

    @property
    def lasting(self) -> dict[str, str]:
        """The environment variables of a run without a fault. The resumed run has the same variables."""
        return SHARDED if self.sharded else {}


def command(setting: tuple[str, str], work: Path, *limit: str) -> tuple[str, ...]:
    """Return the command line that starts a new run in the folder `work`."""
    game, optimizer = setting
    words = (word.replace("{}", str(work.parent)) for word in (*GAMES[game], *OPTIMIZERS[optimizer], *COMMON))
    return ("train", "--optimizer", optimizer, "--out", str(work / "run"), *words, *limit)


def resumption(setting: tuple[str, str], work: Path) -> tuple[str, ...]:
    """Return the command line that resumes the run in the folder `work`."""
    code = ("--import", str(work.parent / "guess.py")) if setting[0] == "file" else ()
    return ("train", "--resume", "--out", str(work / "run"), *code, *WITHOUT_LIMITS)


def plan(count: int, seed: int, launched: int) -> list[Case]:
    """Return `count` cases. The last `launched` of them use `torchrun` and `accelerate launch`."""
    rng = random.Random(seed)
    kinds: list[tuple[str, ...]] = [
        *(("limit", name) for name in LIMITS),
        *(("game", name) for name in OWN_FAULTS),
        ("disk", ""),
        *(("signal", *each) for each in itertools.product(SIGNALS, TARGETS, CALLS)),
    ]
    rng.shuffle(kinds)
    kinds.sort(key=lambda kind: kind[0] == "signal")  # the others first, because there are fewer of them
    forked = [_case(number, kinds[number % len(kinds)], rng) for number in range(count - launched)]
    return forked + [_launched(len(forked) + index, index, rng) for index in range(launched)]


def _case(number: int, kind: tuple[str, ...], rng: random.Random) -> Case:
    what, detail, *place = kind
    game = "file" if what == "game" else "bandit" if detail == "stop-success" else rng.choice(list(GAMES))
    optimizer, launcher = rng.choice(list(OPTIMIZERS)), rng.choice(("forked", "forked", "alone"))
    if detail == "huge" and optimizer == "grpo":
        optimizer = "actde"  # GRPO divides by the standard deviation of the rewards
    fault, rank = None, rng.randrange(2)
    if what == "disk":
        fault = Fault(what="full", target="0", phase="disk", number=rng.randint(1, 3), delay=0)
    elif what == "signal":
        target, phase = place
        call, delay = rng.randint(1, CALLS[phase]), rng.choice((0.0, rng.uniform(0, 0.05)))
        fault = Fault(what=detail, target=target, phase=phase, number=call, delay=delay)
    return Case(number=number, game=game, optimizer=optimizer, launcher=launcher, what=what, detail=detail,
                rank=rank, fault=fault)  # fmt: skip


def sharded_plan(count: int, seed: int) -> list[Case]:
    """Return `count` cases of a sharded trunk, in which a process is killed in a random phase."""
    rng, cases = random.Random(seed), list[Case]()
    for number in range(count):
        phase = ("gather", "backward", "checkpoint", "rollout", "update")[number % 5]
        delay = rng.uniform(0, 1) if phase in ("rollout", "update") else rng.choice((0.0, rng.uniform(0, 0.01)))
        fault = Fault(what="SIGKILL", target=rng.choice("01"), phase=phase, number=rng.randint(1, 3), delay=delay)
        cases.append(
            Case(number=number, game=rng.choice(list(GAMES)), optimizer=rng.choice(list(OPTIMIZERS)), what="signal",
                 launcher=rng.choice(("forked", "alone")), detail="SIGKILL", fault=fault, sharded=True)
        )  # fmt: skip
    return cases


LAUNCHED = (
    ("torchrun", "signal", "SIGINT", "launcher"), ("accelerate", "signal", "SIGINT", "launcher"),
    ("torchrun", "signal", "SIGKILL", "launcher"), ("torchrun", "signal", "SIGKILL", "0"),
    ("accelerate", "game", "reset"), ("torchrun", "limit", "iterations"), ("torchrun", "signal", "SIGKILL", "1"),
    ("torchrun", "signal", "SIGINT", "1"), ("torchrun", "signal", "SIGTERM", "launcher"),
    ("torchrun", "limit", "stop-success"),
)  # fmt: skip
"""Cases with a real launcher: the launcher, and the arguments of `_case` that say what ends the run."""


def _launched(number: int, index: int, rng: random.Random) -> Case:
    launcher, *kind = LAUNCHED[index % len(LAUNCHED)]
    return replace(_case(number, (*kind, "rollout"), rng), launcher=launcher)
