"""Run commands on misbehaving environments, and check that the failures are counted, or refused in one line.

    python -m benchmarks.faults.environments --count 200 --out benchmarks/environments.json

A case is a command and an environment that misbehaves at one place, for example in `reset`. Some games run in their own
process (`--step-seconds`), and always those that may end, crash or block it.

A case is *refused* if the command ends with one line that begins with `error:` and a status of 1 or 2. It is *exact* if
the command succeeds and reports as many failed episodes as have misbehaved. It may also report none, unless `reset` or
`step` raised an exception or did not return. Otherwise, the case *failed*, for example by a traceback, a hang, or
output of the game in a JSON document. The exit status is 1 if any case failed.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from benchmarks.faults import cases, processes
from benchmarks.faults.misbehaving import LOG, PLACES, RAISED
from benchmarks.faults.result import Result

GAME = Path(__file__).with_name("misbehaving.py")
SECONDS = 240.0
STEP_SECONDS = "5"
TINY = ("--seed", "1", "--trunk", "pico", "--parallel", "2", "--epochs", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--out", "out", *TINY, "--episodes", "6", "--iterations", "2", "--save-every", "1", "--json"),
    "evaluate": ("evaluate", "--agent", "random", "--episodes", "8", "--parallel", "2", "--json"),
    "play": ("play", "--agent", "random", "--episodes", "5", "--json"),
    "imitate": ("train", "--out", "out", *TINY, "--optimizer", "imitation", "--episodes", "4", "--iterations", "1",
                "--json"),
    "compare": ("compare", "--out", "out", *TINY[2:], "--episodes", "4", "--iterations", "1", "--optimizers", "ppo",
                "--seeds", "1", "--evaluations", "4"),
}  # fmt: skip
SHARES = {"train": 8, "evaluate": 5, "play": 4, "imitate": 2, "compare": 1}  # relative frequencies
WORD_SEEDS = {int(np.random.SeedSequence([0, number]).generate_state(1)[0]) for number in range(100)}
"""Seeds of the episodes that are played before training to collect the words of the tokenizer.

Commands do not report the failures of these episodes.
"""
ENDING = frozenset({"exits", "exits with 0", "crashes", "aborts", "kills itself", "terminates", "sleeps",
                    "sleeps and catches", "overflows the stack", "divides by zero"})  # fmt: skip
"""Faults after which the call of the environment returns no result."""
ISOLATED = (ENDING - {"overflows the stack", "divides by zero"}) | {"limits files", "closes the streams",
            "closes descriptors", "lowers the recursion limit"}  # fmt: skip
"""Faults that are contained only if the game runs in its own process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command, and an environment that misbehaves in the episodes whose seed is a multiple of `every`.

    Attributes:
        where: the place that misbehaves, a key of `PLACES`.
        what: what happens there, a key of `PLACES[where]`.
        isolated: whether the game runs in its own process.
    """

    where: str
    what: str
    every: int
    command: str
    isolated: bool

    @property
    def words(self) -> list[str]:
        game = f"{GAME}:Misbehaving?where={quote(self.where)}&what={quote(self.what)}&every={self.every}"
        return [*COMMANDS[self.command], "--game", game, *(("--step-seconds", STEP_SECONDS) if self.isolated else ())]


def plan(count: int, seed: int) -> list[Case]:
    """Return `count` cases. No two have the same environment, and the faults are spread over all places."""
    rng = random.Random(seed)
    rest = {where: rng.sample(sorted(table), len(table)) for where, table in PLACES.items()}
    planned: list[Case] = []
    while len(planned) < count:
        for where in rng.sample(sorted(rest), len(rest)):
            for _ in range(min(3 if where in ("constructor", "reset", "step", "close") else 1, len(rest[where]))):
                what = rest[where].pop()
                command = rng.choices(list(SHARES), list(SHARES.values()))[0]
                isolated = what in ISOLATED or rng.random() < 0.1
                every = rng.choice((1, 3, 3))
                planned.append(Case(where=where, what=what, every=every, command=command, isolated=isolated))
        if not any(rest.values()):
            raise ValueError(f"there are only {len(planned)} environments")
    return planned[:count]


def run(case: Case, root: Path) -> tuple[str, str]:
    """Run a case. Return a tuple (outcome, message), whose message gives the reason if the case failed."""
    work = root / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    log = root / "misbehaved"
    log.write_text("")
    os.environ[LOG] = str(log)
    result = processes.run(case.words, work, seconds=SECONDS)
    seeds = [int(line) for line in log.read_text().splitlines()]
    misbehaved = sum(case.command in ("evaluate", "play") or seed not in WORD_SEEDS for seed in seeds)
    return outcome(case, result, _reported(case, result, work), misbehaved)


def outcome(case: Case, result: Result, reported: int | None, misbehaved: int) -> tuple[str, str]:
    """Return a tuple (outcome, message) for a command that has ended.

    Args:
        reported: number of failed episodes, or None if the command has not written it.
        misbehaved: number of misbehaving episodes, and of environments that misbehaved before their first episode.
    """
    if "Traceback" in result.err + result.out or "Exception ignored" in result.err:
        return "failed", result.err[-3000:]
    if result.is_refused:
        return "refused", result.last_line
    ends_play = case.command == "play" and result.status == 1 and reported
    if (result.status and not ends_play) or reported is None:
        return "failed", f"status {result.status}, {result.err[-2000:]!r}, {result.out[-300:]!r}"
    must_count = case.where in ("reset", "step") and case.what in RAISED.keys() | ENDING
    if reported != misbehaved and (must_count or reported):
        return "failed", f"{misbehaved} episodes misbehaved, {reported} reported; {result.err[-300:]!r}"
    return "exact", f"{reported} of {misbehaved} counted"


def _reported(case: Case, result: Result, work: Path) -> int | None:
    """Return the number of failed episodes that a command has reported, or None if its output is damaged."""
    try:
        match case.command:
            case "train" | "imitate":
                json.loads(result.out)
                lines = (work / "out" / "metrics.jsonl").read_text().splitlines()
                return sum(int(json.loads(line)["errors"]) for line in lines)
            case "evaluate":
                return sum(int(row["errors"]) for row in json.loads(result.out))
            case "play":
                json.loads(result.out)
                last = result.last_line
                return int(last.split()[0]) if " episodes failed" in last else 0
            case _:
                runs = json.loads((work / "out" / "results.json").read_text())["runs"]
                evaluations = [row["evaluation"][how]["errors"] for row in runs for how in ("sampled", "greedy")]
                return int(sum(evaluations) + sum(sum(row["curves"]["errors"]) for row in runs))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = cases.parser(__doc__, count=(200, "number of environments"), seed=(0, "seed of the cases"))
    options = parser.parse_args(arguments)
    processes.prepare()
    series = cases.Series("environments", options, arguments)
    for name in ("evaluate", "train"):  # import what the commands need
        run(Case(where="reward", what="bool", every=1, command=name, isolated=False), series.root)
        processes.import_as_in(series.root / "work")
    series.run(plan(options.count, options.seed), lambda case: run(case, series.root))
    return series.report()


if __name__ == "__main__":
    sys.exit(main())
