"""Fuzz TextWorld games with hostile commands: nothing may hang, crash, write a file or show hidden state.

    python -m benchmarks.textworld_fuzz --commands 100000 --seed 0 --out benchmarks/textworld_fuzz.json

One game of each of five families is played twice, with all infos and without infos. Each game runs in its own process
and in an empty folder. If a command takes longer than a minute, the process of the game is ended. Commands pass through
the environment, so that the command filter and the engine are tested together. Each violation of the rules above is a
finding. The exit status is 1 if there are findings.
"""

import faulthandler
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.hostile import CommandGenerator
from games.child_process import python_environment
from games.game_strings import make_textworld
from games.textworld.engines.protocol import INFOS

GAMES = {
    "simple": "textworld:simple?level=1&seed=7",
    "coin": "textworld:coin?level=4&seed=1",
    "treasure": "textworld:treasure?level=11&seed=1",
    "cooking": "textworld:cooking?level=8&seed=1",
    "quest": "textworld:quest?level=6&seed=1",
}
PATIENCE = 60.0  # seconds for one command
TURNS = 150  # commands per episode at most
HIDDEN = [
    re.compile(r"\[[^\]]*\]"),  # traces of actions
    re.compile(r"</?(description|inventory|score|moves|location)>"),
    re.compile(r"\b[a-zA-Z]+_[0-9]+\b"),  # internal names of objects
    re.compile(r"(?i)\btw-|print state|restrict commands|\bdebugging\b"),
    re.compile(r"(?i)transcript|please enter a file|(save|restore) failed|^ok\.$"),
]
KNOWN = {"admissible_commands", "score", "won", "lost", "moves", "max_score", "objective", "refused"}
StepResult = tuple[str, float, bool, bool, dict[str, Any]]


class Fuzz:
    """A player of hostile commands in one game. `violations` contains a description of each finding."""

    def __init__(self, game: str, seed: int | str, infos: tuple[str, ...] = ()) -> None:
        self.env = make_textworld(game, max_turns=TURNS, infos=infos)
        self.infos = infos
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        opening, info = self.env.reset(seed=0)
        self._known = {*KNOWN, *infos}
        self._walkthrough = tuple(info["extra.walkthrough"])
        self._expected = self._walk()
        commands = sorted({command for at in self._expected for command in at[4]["admissible_commands"]})
        words = {word for command in commands for word in command.split()} | set(re.findall("[a-z]+", opening))
        self._generator = CommandGenerator(seed, commands, sorted(words))

    def run(self, commands: int) -> None:
        """Play `commands` hostile commands. After every episode, play the walkthrough."""
        while self.counts["commands"] < commands:
            _, info = self.env.reset(seed=0)
            over = False
            while not over and self.counts["commands"] < commands:
                command = self._generator.next(info["admissible_commands"])
                faulthandler.dump_traceback_later(PATIENCE, exit=True)
                result = self.env.step(command)
                self._check(command, info, result)
                info, over = result[4], result[2] or result[3]
            self.counts["episodes"] += 1
            self.counts["won"] += info["won"]
            if self._walk() != self._expected:
                self.violations.append("the walkthrough has other results than before")
        faulthandler.cancel_dump_traceback_later()

    def _walk(self) -> list[StepResult]:
        first, info = self.env.reset(seed=0)
        return [(first, 0.0, False, False, info), *(self.env.step(command) for command in self._walkthrough)]

    def _check(self, command: str, before: dict[str, Any], result: StepResult) -> None:
        text, reward, terminated, _, info = result
        self.counts["commands"] += 1
        self.counts["stopped" if "refused" in info else "passed"] += 1
        self.counts["admissible"] += command in before["admissible_commands"]
        wrong = [f"shows {match.group()!r}" for match in (pattern.search(text) for pattern in HIDDEN) if match]
        if set(info) - self._known:
            wrong.append(f"has unknown infos {sorted(set(info) - self._known)}")
        if reward != info["score"] - before["score"]:
            wrong.append("the reward is not the difference of scores")
        if "refused" in info:
            same = ("score", "won", "lost", "inventory", "description", "policy_commands")
            if terminated or any(info.get(name) != before.get(name) for name in same):
                wrong.append("it was refused, but something changed")
            if info["admissible_commands"] not in ([], before["admissible_commands"]):
                wrong.append("it was refused, but the admissible commands changed")
        elif "inventory" in info and not terminated:
            wrong += [
                f"offers {other!r} for a thing that is not carried"
                for other in info["admissible_commands"]
                if other.startswith("drop ") and other[5:] not in info["inventory"]
            ]
        self.violations += [f"{command[:200]!r}: {what}" for what in wrong]


def in_child(family: str, commands: int, seed: int, infos: tuple[str, ...]) -> dict[str, Any]:
    """Play in a child process, in an empty folder."""
    code = "import sys; from benchmarks.textworld_fuzz import child; child(sys.argv[1])"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps([family, commands, seed, infos])],
            cwd=folder, env=python_environment(), capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        files = sorted(path.name for path in Path(folder).iterdir())
    result: dict[str, Any] = {"family": family, "infos": bool(infos), "seconds": round(time.monotonic() - began, 1)}
    if done.returncode == 0:
        result |= json.loads(done.stdout)
    else:
        result |= {"found": [f"the process ended with {done.returncode}: {done.stderr[-1500:]}"], "counts": {}}
    result["found"] += [f"the file {name!r} was written" for name in files]
    return result


def child(job: str) -> None:
    """Play in the child process, and print the counts and violations."""
    family, commands, seed, infos = json.loads(job)
    fuzz = Fuzz(GAMES[family], f"{seed} {family} {len(infos)}", tuple(infos))
    fuzz.run(commands)
    print(json.dumps({"counts": dict(fuzz.counts), "found": fuzz.violations[:50]}))


def main(arguments: Sequence[str] | None = None) -> int:
    options = harness.parser(
        __doc__, timed=False, commands=(100_000, "total number of commands"), seed=(0, "seed of the commands")
    ).parse_args(arguments)
    share = -(-options.commands // (2 * len(GAMES)))
    results: list[dict[str, Any]] = []
    total: Counter[str] = Counter()
    for family, infos in product(GAMES, ((), INFOS)):
        results.append(in_child(family, share, options.seed, infos))
        print(json.dumps(results[-1]), flush=True)
        total.update(results[-1]["counts"])
    count = sum(len(result["found"]) for result in results)
    print(f"{total['commands']:,} commands, {total['passed']:,} of them passed; findings: {count}")
    harness.write(options.out, {"seed": options.seed, "games": GAMES, "total": total, "results": results})
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
