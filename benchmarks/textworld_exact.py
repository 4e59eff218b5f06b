"""Check that our engine's outputs equal those of TextWorld's own environment for the same commands.

    python -m benchmarks.textworld_exact --steps 200000 --out benchmarks/textworld_exact.json

The players sample random commands, follow TextWorld's policy, or invent text. They play games of five families.
After every command, all outputs are compared with those of an environment of `textworld.start`: text, score, won, lost,
admissible commands, policy commands, intermediate reward, description and inventory.

The first difference ends the run. It is printed with the commands that led to it. An interrupted run is resumed from
`--out`, game by game.
"""

import itertools
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from games.game_strings import resolve
from games.textworld.engines.command_filter import CommandFilter
from games.textworld.engines.protocol import INFOS, EngineResponse, intermediate_reward
from games.textworld.generation.make_game import cached_game
from games.textworld.transitions.cache import TransitionCache
from games.textworld.transitions.engine import CachedEngine
from games.worker_pool import WorkerPool

GAMES = (
    "textworld:simple?level=1&seed=1", "textworld:simple?level=5&seed=2", "textworld:simple?level=9&seed=3",
    "textworld:simple?level=1&seed=4&test=yes",
    "textworld:coin?level=2&seed=1", "textworld:coin?level=5&seed=2", "textworld:coin?level=20&seed=3",
    "textworld:coin?level=110&seed=4",
    "textworld:treasure?level=3&seed=1", "textworld:treasure?level=12&seed=2", "textworld:treasure?level=18&seed=3",
    "textworld:treasure?level=25&seed=4",
    "textworld:cooking?level=2&seed=1", "textworld:cooking?level=4&seed=2", "textworld:cooking?level=6&seed=3",
    "textworld:cooking?level=8&seed=4", "textworld:cooking?level=10&seed=5",
    "textworld:quest?level=3&seed=1", "textworld:quest?level=5&seed=2", "textworld:quest?level=7&seed=3",
    "textworld:quest?level=10&seed=4",
)  # fmt: skip
PLAYERS = {"random": (0.0, 0.0), "policy": (0.7, 0.0), "free": (0.2, 0.4)}
"""Player -> (share of commands that follow the policy, share of invented commands). All other commands are random."""
INFO_SETS = ((), ("policy_commands", "intermediate_reward"), INFOS)
TURNS = 80
LOOSE = ("it", "them", "him", "one", "that", "door", "key", "from", "with", "on", "in", "zzz", "north")
OTHER = ("score", "goal", "help", "wait", "look", "inventory")


class StockEnvironment:
    """TextWorld's own environment."""

    def __init__(self, story: Path, infos: tuple[str, ...]) -> None:
        import textworld

        asked = {name: True for name in (*infos, "admissible_commands") if name != "intermediate_reward"}
        if "intermediate_reward" in infos:  # TextWorld computes the reward from the policy, and fails without it
            asked["policy_commands"] = True
        self._infos, self._way = infos, None
        with warnings.catch_warnings(action="ignore"):  # Jericho does not know the game
            self._env: Any = textworld.start(str(story), textworld.EnvInfos(**asked))

    def reset(self) -> EngineResponse:
        self._way = None
        with warnings.catch_warnings(action="ignore"):
            return self._answer(self._env.reset())

    def step(self, command: str) -> EngineResponse:
        with warnings.catch_warnings(action="ignore"):
            return self._answer(self._env.step(command)[0])

    def _answer(self, state: Any) -> EngineResponse:
        asked, before, self._way = self._infos, self._way, state["_winning_policy"]
        reward = intermediate_reward(before, self._way, won=state.won, lost=state.lost)
        return EngineResponse(
            text=state.feedback.strip(),
            score=state.score,
            won=state.won,
            lost=state.lost,
            admissible_commands=tuple(state.admissible_commands),
            policy_commands=tuple(state.policy_commands or ()) if "policy_commands" in asked else None,
            intermediate_reward=reward if "intermediate_reward" in asked else None,
            description=(state.description or "").strip() if "description" in asked else None,
            inventory=(state.inventory or "").strip() if "inventory" in asked else None,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return 1 if there is a difference, and 0 otherwise."""
    given = harness.parser(
        __doc__,
        timed=False,
        steps=(200_000, "total number of steps"),
        seed=(0, "seed of the players"),
        workers=(2, "processes that play"),
        out=(Path, "result as JSON; an unfinished one is resumed"),
    ).parse_args(arguments)
    parts = list(itertools.product(GAMES, range(len(INFO_SETS))))
    each = -(-given.steps // len(parts))
    request = {"command": f"python -m benchmarks.textworld_exact --steps {given.steps} --seed {given.seed}",
               "games": len(GAMES), "steps_each": each}  # fmt: skip
    done = _read(given.out, request)
    todo = [(game, at, each, given.seed) for game, at in parts if f"{game} {at}" not in done]
    with WorkerPool(given.workers) as pool:
        for job in as_completed([pool.submit(play, part) for part in todo]):
            result = job.result()
            done[f"{result['game']} {result['infos']}"] = result
            print(_line(result), flush=True)
            _write(given.out, request, done)
            if result["difference"]:
                return 1
    print(f"{sum(part['steps'] for part in done.values())} steps, every output compared: no difference")
    return 0


def play(part: tuple[str, int, int, int]) -> dict[str, Any]:
    """Play one game in both environments. `part` is a tuple (game, index of the infos in INFO_SETS, steps, seed)."""
    game, at, steps, seed = part
    infos = INFO_SETS[at]
    spec = resolve(game)[0]
    story = cached_game(spec.target, dict(spec.settings))
    stock, ours = StockEnvironment(story, infos), TransitionCache().engine(story, infos)
    rng = np.random.default_rng(np.random.SeedSequence([seed, GAMES.index(game), at]))
    made, difference, players = 0, "", itertools.cycle(PLAYERS)
    while made < steps and not difference:
        for difference in episode(stock, ours, rng, next(players)):
            made += 1
            if difference or made == steps:
                break
    return {"game": game, "infos": at, "steps": made, "difference": difference, **ours.counts}


def episode(stock: StockEnvironment, ours: CachedEngine, rng: np.random.Generator, player: str) -> Iterator[str]:
    """Play an episode in both environments. Yield their difference, or "", after the reset and every command."""
    follow, invent = PLAYERS[player]
    command_filter = CommandFilter(ours.game_info.command_templates)
    theirs, answer = stock.reset(), ours.reset()
    commands: list[str] = []
    yield difference_of(theirs, answer, commands)
    while not (theirs.won or theirs.lost) and len(commands) < TURNS:
        drawn = rng.random()
        if drawn < follow and theirs.policy_commands:
            command = theirs.policy_commands[0]
        elif drawn >= 1 - invent:
            command = invented_command(ours, rng)
        else:
            command = str(rng.choice(theirs.admissible_commands))
        passed = command_filter.check(command, theirs.admissible_commands).command
        if passed is None:
            continue
        commands.append(passed)
        theirs, answer = stock.step(passed), ours.step(passed)
        yield difference_of(theirs, answer, commands)


def invented_command(ours: CachedEngine, rng: np.random.Generator) -> str:
    """Return one of `OTHER`, or a verb of the game with up to three words, mostly from the game's walkthrough."""
    words = [word for command in ours.game_info.walkthrough for word in command.split()[1:]]
    verbs = sorted({template.split()[0] for template in ours.game_info.command_templates})
    pool = [*words, *LOOSE]
    if rng.random() < 0.2:
        return str(rng.choice(OTHER))
    return " ".join([str(rng.choice(verbs)), *(str(rng.choice(pool)) for _ in range(rng.integers(0, 4)))])


def difference_of(theirs: EngineResponse, ours: EngineResponse, commands: list[str]) -> str:
    """Return how two responses differ, or "" if they are equal."""
    if theirs == ours:
        return ""
    names = [field.name for field in fields(EngineResponse) if getattr(theirs, field.name) != getattr(ours, field.name)]
    return "; ".join(f"{commands}: {n}: TextWorld {getattr(theirs, n)!r}, ours {getattr(ours, n)!r}" for n in names)


def _line(result: dict[str, Any]) -> str:
    known = result["hits"] / max(1, result["hits"] + result["misses"])
    return (
        f"{result['game']} with {len(INFO_SETS[result['infos']])} infos: {result['steps']} steps, {known:.0%} known:"
        f" {result['difference'] or 'no difference'}"
    )


def _read(path: Path | None, request: dict[str, Any]) -> dict[str, Any]:
    stored = harness.read(path)
    if stored and {key: stored.get(key) for key in request} != request:
        sys.exit(f"{path}: has the results of other settings; choose another file")
    return {f"{part['game']} {part['infos']}": part for part in stored.get("parts", [])}


def _write(path: Path | None, request: dict[str, Any], done: dict[str, Any]) -> None:
    parts = [done[key] for key in sorted(done)]
    played, unequal = sum(part["steps"] for part in parts), sum(bool(part["difference"]) for part in parts)
    harness.write(path, {**request, "played": played, "differences": unequal, "parts": parts})


if __name__ == "__main__":
    sys.exit(main())
