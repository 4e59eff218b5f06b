"""How fast are our TextWorld games beside TextWorld's own environment, asked for the same infos?

    python -m benchmarks.textworld_speed --out benchmarks/textworld_speed.json

One process, one core; ours is `actde/TextWorld-v0` as an agent meets it, command filter included, TextWorld's is what
`textworld.start` makes. Both play the same commands in turn (A, B, A, B ...):

    warm     steps that were played before; the best of the turns for each command on TextWorld's side, the best
             turn on ours, since other processes only ever add to a time
    mix      from a cold start, 70% policy and 30% random, as in training; TextWorld plays every so many episodes
    first    steps never played before; the median ratio, with its first and last decile
    reset    warm, in microseconds

The mix and first steps happen once only, so there it is processor time that is compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.textworld_exact import Own
from games import files
from games.specs import make_textworld
from games.textworld.engines.protocol import INFOS
from games.textworld.transitions import cache as memory
from games.textworld.transitions.cache import TransitionCache

GAMES = ("textworld:simple?level=1&seed=7", "textworld:coin?level=5&seed=1", "textworld:treasure?level=15&seed=1",
         "textworld:cooking?level=6&seed=1", "textworld:quest?level=7&seed=1")  # fmt: skip
POLICY = ("policy_commands", "intermediate_reward")
WARM = {"admissible commands": (), "with policy": POLICY, "with description and inventory": INFOS}
TURNS, STEPS, EPISODE = 7, 40, 60
FOLLOWED = 0.7


class Pair:
    """Our environment and TextWorld's of one game."""

    def __init__(self, game: str, infos: tuple[str, ...]) -> None:
        memory.PROCESS_CACHE = TransitionCache()  # a cold start
        self.ours = make_textworld(game, infos=infos, max_turns=1_000_000)
        self.own = Own(self.ours.path, infos)

    def script(self, rng: np.random.Generator, steps: int, followed: float) -> list[str]:
        """Commands of an episode, drawn while our environment plays it; ends with the game."""
        _, info = self.ours.reset()
        commands: list[str] = []
        while len(commands) < steps and info["admissible_commands"]:
            if info.get("policy_commands") and rng.random() < followed:
                commands.append(info["policy_commands"][0])
            else:
                commands.append(str(rng.choice(info["admissible_commands"])))
            *_, info = self.ours.step(commands[-1])
        return commands

    def time_ours(self, commands: list[str]) -> float:
        """Seconds for the commands, by the clock."""
        step = self.ours.step
        self.ours.reset()
        begun = time.perf_counter()
        for command in commands:
            step(command)
        return time.perf_counter() - begun

    def time_own(self, commands: list[str], clock: Callable[[], float]) -> list[float]:
        """Seconds for each command."""
        step = self.own.step
        self.own.reset()
        times = [clock()]
        for command in commands:
            step(command)
            times.append(clock())
        return [after - before for before, after in itertools.pairwise(times)]


def warm(game: str, infos: tuple[str, ...]) -> dict[str, float]:
    """Steps that were played before."""
    pair = Pair(game, infos)
    commands = pair.script(np.random.default_rng(0), STEPS, 0.0)
    own, ours, resets = [], [], []
    for turn in range(TURNS):
        own.append(pair.time_own(commands, time.perf_counter))
        for seed in range(25):
            ours.append(pair.time_ours(commands))
            begun = time.perf_counter()
            pair.ours.reset(seed=25 * turn + seed)
            resets.append(time.perf_counter() - begun)
    best = sum(map(min, zip(*own, strict=True)))
    return {
        "own_us": round(1e6 * best / len(commands), 1),
        "ours_us": round(1e6 * min(ours) / len(commands), 2),
        "ratio": round(best / min(ours), 1),
        "reset_us": round(1e6 * statistics.median(resets), 2),
    }


def mix(game: str, steps: int, every: int) -> dict[str, float]:
    """A cold start, 70% policy and 30% random; `every` how many episodes TextWorld plays one."""
    pair, rng = Pair(game, POLICY), np.random.default_rng(1)
    ours = own = 0.0
    made = compared = episodes = 0
    while made < steps:
        begun = time.thread_time()
        commands = pair.script(rng, min(EPISODE, steps - made), FOLLOWED)  # a first time: what is new is paid for here
        ours += time.thread_time() - begun
        made += len(commands)
        if episodes % every == 0:
            own += sum(pair.time_own(commands, time.thread_time))
            compared += len(commands)
        episodes += 1
    counts: dict[str, int] = getattr(pair.ours._engine, "counts", {})
    return {
        "steps": made,
        "compared": compared,
        "known": round(counts["hits"] / (counts["hits"] + counts["misses"]), 3),
        "ratio": round((own / compared) / (ours / made), 2),
    }


def first(game: str, infos: tuple[str, ...], steps: int) -> dict[str, float]:
    """Steps that nobody has played: each is timed alone, and TextWorld plays the same."""
    pair, rng = Pair(game, infos), np.random.default_rng(2)
    times: list[tuple[float, float]] = []
    since = 0
    while len(times) < steps:
        if since == 20:  # a small game has fewer: once more from a cold start
            pair, since = Pair(game, infos), 0
        before = len(times)
        _, info = pair.ours.reset()
        pair.own.reset()
        for _ in range(EPISODE):
            if not info["admissible_commands"]:
                break
            command = str(rng.choice(info["admissible_commands"]))
            new = pair.ours.needs_interpreter(command)
            begun = time.thread_time()
            *_, info = pair.ours.step(command)
            between = time.thread_time()
            pair.own.step(command)
            if new:
                times.append((time.thread_time() - between, between - begun))
        since = since + 1 if len(times) == before else 0
    return _summary(times)


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    ratios = sorted(own / ours for own, ours in times)
    return {
        "steps": len(times),
        "own_us": round(1e6 * statistics.median(own for own, _ in times), 1),
        "ours_us": round(1e6 * statistics.median(ours for _, ours in times), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(ratios[len(ratios) // 10], 2),
        "ratio_high": round(ratios[-1 - len(ratios) // 10], 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10_000, help="of the mix")
    parser.add_argument("--every", type=int, default=10, help="TextWorld plays every so many episodes of the mix")
    parser.add_argument("--first", type=int, default=100, help="steps never played before")
    parser.add_argument("--out", type=Path, default=None, help="the result as JSON")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for game in GAMES:
        for name, infos in WARM.items():
            rows.append({"game": game, "what": "warm", "infos": name, **warm(game, infos)})
            print(_line(rows[-1]), flush=True)
        rows.append({"game": game, "what": "mix", "infos": "with policy", **mix(game, given.steps, given.every)})
        print(_line(rows[-1]), flush=True)
        for name, infos in WARM.items():
            rows.append({"game": game, "what": "first", "infos": name, **first(game, infos, given.first)})
            print(_line(rows[-1]), flush=True)
    if given.out is not None:
        command = f"python -m benchmarks.textworld_speed --steps {given.steps} --every {given.every}"
        data = {"command": f"{command} --first {given.first}", "cores": 1, "rows": rows}
        files.atomic_write(given.out, json.dumps(data, indent=1) + "\n")
    return 0


def _line(row: dict[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("game", "what", "infos"))
    return f"{row['game']:40} {row['what']:5} {row['infos']:32} {rest}"


if __name__ == "__main__":
    sys.exit(main())
