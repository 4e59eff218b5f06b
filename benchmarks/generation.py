"""Compare game generation with TextWorld's `tw-make`, in CPU seconds of one core.

    python -m benchmarks.generation [--turns N] [--out FILE]

Users of TextWorld run `tw-make` once per game, each time in a new process. Our process generates many games, as
`generate` does. The start of our process, which includes parsing the rules, is measured separately and spread over
--games games. The two programs alternate over the same levels and seeds, and the times of both include child processes.
A seed is skipped if either program generates no game for it.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from games.child_process import python_environment

LEVELS = (  # family, our level, the arguments of tw-make
    ("simple", 1, "tw-simple --rewards dense --goal detailed"),
    ("coin", 5, "tw-coin_collector --level 5"),
    ("coin", 20, "tw-coin_collector --level 20"),
    ("treasure", 5, "tw-treasure_hunter --level 5"),
    ("treasure", 15, "tw-treasure_hunter --level 15"),
    ("cooking", 3, "tw-cooking --recipe 1 --take 1 --go 1 --open --cook --recipe-seed 0"),
    ("cooking", 7, "tw-cooking --recipe 2 --take 2 --go 6 --open --cook --cut --recipe-seed 0"),
    ("quest", 6, "custom --world-size 4 --nb-objects 6 --quest-length 8"),
)
CHILD = """
import json, resource, sys
from pathlib import Path
def spent():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
from games.textworld.generation import make_game as making
from games.errors import GameError
for line in sys.stdin:
    name, values, path = json.loads(line)
    before = spent()
    try:
        making.write_game(making.make_game(name, values), Path(path))
    except GameError:
        print("null", flush=True)
    else:
        print(json.dumps([before, spent()]), flush=True)
"""


class Ours:
    """A child process that generates games of one family."""

    def __init__(self, family: str, folder: Path) -> None:
        self._family, self._folder = family, folder
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=python_environment(),
        )  # fmt: skip

    def make(self, level: int, seed: int) -> tuple[float, float] | None:
        """Generate a game. Return a tuple (before, after) of the process's CPU seconds, or None if this fails."""
        assert self._child.stdin is not None and self._child.stdout is not None
        job = [self._family, {"level": level, "seed": seed}, str(self._folder / f"tw-ours-{level}-{seed}.z8")]
        self._child.stdin.write(json.dumps(job) + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        return answer and (answer[0], answer[1])

    def end(self) -> None:
        self._child.communicate()


def theirs(words: str, seed: int, folder: Path) -> float | None:
    """Return the CPU seconds of one run of `tw-make`, or None if it fails."""
    command = [sys.executable, str(Path(sys.executable).with_name("tw-make")), *words.split(),
               "--seed", str(seed), "--output", str(folder / f"tw-theirs-{seed}.z8"), "-f", "--silent"]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent if done.returncode == 0 else None


def measure(family: str, level: int, words: str, turns: int, folder: Path) -> dict[str, Any]:
    """Generate `turns` games with each program, alternately. `once` is the CPU seconds of the start of our process."""
    ours = Ours(family, folder)
    first, second = ours.make(level, 100_000), ours.make(level, 100_001)
    seconds: dict[str, list[float]] = {"ours": [], "tw-make": []}
    for seed in range(1, 10 * turns):
        game, peer = ours.make(level, seed), theirs(words, seed, folder)
        if game is not None and peer is not None:
            seconds["ours"].append(round(game[1] - game[0], 3))
            seconds["tw-make"].append(round(peer, 3))
        if len(seconds["ours"]) == turns:
            break
    ours.end()
    once = 0.0 if first is None or second is None else first[1] - (second[1] - second[0])
    return {"family": family, "level": level, "tw-make": words, "once": round(once, 3), "seconds": seconds}


def summary(row: dict[str, Any], games: int) -> dict[str, float]:
    """Return the median seconds of both programs, and the median and extremes of the ratios tw-make / ours."""
    ours, peer = [seconds + row["once"] / games for seconds in row["seconds"]["ours"]], row["seconds"]["tw-make"]
    ratios = harness.ratios(peer, ours)
    medians = {"ours": statistics.median(ours), "tw-make": statistics.median(peer), "ratio": ratios.pop("median")}
    return medians | ratios


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.parser(
        __doc__,
        timed=False,
        turns=(7, "measured games of each"),
        games=(10, "games over which the start of our process is spread"),
    ).parse_args(arguments)
    rows = []
    print(f"{'':13} {'tw-make, s':>10} {'ours, s':>8} {'ratio':>6} {'spread':>14}")
    with tempfile.TemporaryDirectory() as name:
        for family, level, words in LEVELS:
            row = measure(family, level, words, options.turns, Path(name))
            row["summary"] = numbers = {key: round(x, 3) for key, x in summary(row, options.games).items()}
            rows.append(row)
            spread = f"{numbers['least']:.1f} to {numbers['most']:.1f}"
            print(f"{family + ' ' + str(level):13} {numbers['tw-make']:10.2f} {numbers['ours']:8.2f}"
                  f" {numbers['ratio']:6.1f} {spread:>14}", flush=True)  # fmt: skip
    harness.report("generation", options, arguments, rows=rows)


if __name__ == "__main__":
    main()
