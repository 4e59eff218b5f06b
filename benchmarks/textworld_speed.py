"""Compare the speed of our TextWorld games with TextWorld's own environment, for the same infos.

    python -m benchmarks.textworld_speed --out benchmarks/textworld_speed.json

Everything runs in one process on one core. Our environment is `actde/TextWorld-v0` with its command filter. TextWorld's
environment is that of `textworld.start`. Both play the same commands alternately:

    warm     cached steps
    mix      episodes from an empty cache, 70% policy and 30% random commands, as in training
             (TextWorld plays only one in N of these episodes)
    first    first visits; the median ratio, with its first and last decile
    reset    resets of our environment with a filled cache, in microseconds

Ratios are TextWorld / ours. `warm` compares minima over rounds, since other processes can only increase a time. For
TextWorld's environment, it adds up the minima of the commands. For ours, it uses the minimum of the whole episode.
`mix` and `first` cannot be repeated, since a first visit happens only once. They compare CPU time instead.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.textworld_exact import StockEnvironment
from games.game_strings import make_textworld
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
    """Our environment of a game, and TextWorld's environment of the same game."""

    def __init__(self, game: str, infos: tuple[str, ...]) -> None:
        memory.PROCESS_CACHE = TransitionCache()  # an empty cache
        self.ours = make_textworld(game, infos=infos, max_turns=1_000_000)
        self.stock = StockEnvironment(self.ours.path, infos)

    def script(self, rng: np.random.Generator, steps: int, followed: float) -> list[str]:
        """Play an episode of at most `steps` commands in our environment, and return its commands.

        `followed` is the share of policy commands.
        """
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
        """Return the wall-clock seconds of all commands together, in our environment."""
        step = self.ours.step
        self.ours.reset()
        begun = time.perf_counter()
        for command in commands:
            step(command)
        return time.perf_counter() - begun

    def time_stock(self, commands: list[str], clock: Callable[[], float]) -> list[float]:
        """Return the seconds of each command, in TextWorld's environment."""
        step = self.stock.step
        self.stock.reset()
        times = [clock()]
        for command in commands:
            step(command)
            times.append(clock())
        return [after - before for before, after in itertools.pairwise(times)]


def warm(game: str, infos: tuple[str, ...]) -> dict[str, float]:
    """Compare steps that our cache already contains, in microseconds per step and per reset."""
    pair = Pair(game, infos)
    commands = pair.script(np.random.default_rng(0), STEPS, 0.0)
    stock, ours, resets = [], [], []
    for turn in range(TURNS):
        stock.append(pair.time_stock(commands, time.perf_counter))
        for seed in range(25):
            ours.append(pair.time_ours(commands))
            begun = time.perf_counter()
            pair.ours.reset(seed=25 * turn + seed)
            resets.append(time.perf_counter() - begun)
    best = sum(map(min, zip(*stock, strict=True)))
    return {
        "own_us": round(1e6 * best / len(commands), 1),
        "ours_us": round(1e6 * min(ours) / len(commands), 2),
        "ratio": round(best / min(ours), 1),
        "reset_us": round(1e6 * statistics.median(resets), 2),
    }


def mix(game: str, steps: int, every: int) -> dict[str, float]:
    """Compare episodes from an empty cache. TextWorld's environment plays one in `every` episodes."""
    pair, rng = Pair(game, POLICY), np.random.default_rng(1)
    ours = stock = 0.0
    made = compared = episodes = 0
    while made < steps:
        begun = time.thread_time()
        commands = pair.script(rng, min(EPISODE, steps - made), FOLLOWED)  # includes the first visits
        ours += time.thread_time() - begun
        made += len(commands)
        if episodes % every == 0:
            stock += sum(pair.time_stock(commands, time.thread_time))
            compared += len(commands)
        episodes += 1
    counts: dict[str, int] = getattr(pair.ours._engine, "counts", {})
    return {
        "steps": made,
        "compared": compared,
        "known": round(counts["hits"] / (counts["hits"] + counts["misses"]), 3),
        "ratio": round((stock / compared) / (ours / made), 2),
    }


def first(game: str, infos: tuple[str, ...], steps: int) -> dict[str, float]:
    """Compare first visits, which are steps that our cache does not contain yet. Each visit is timed separately."""
    pair, rng = Pair(game, infos), np.random.default_rng(2)
    times: list[tuple[float, float]] = []
    since = 0
    while len(times) < steps:
        if since == 20:  # a small game has too few first visits: empty the cache
            pair, since = Pair(game, infos), 0
        before = len(times)
        _, info = pair.ours.reset()
        pair.stock.reset()
        for _ in range(EPISODE):
            if not info["admissible_commands"]:
                break
            command = str(rng.choice(info["admissible_commands"]))
            new = pair.ours.needs_interpreter(command)
            begun = time.thread_time()
            *_, info = pair.ours.step(command)
            between = time.thread_time()
            pair.stock.step(command)
            if new:
                times.append((time.thread_time() - between, between - begun))
        since = since + 1 if len(times) == before else 0
    ratios = sorted(stock / ours for stock, ours in times)
    return {
        "steps": len(times),
        "own_us": round(1e6 * statistics.median(stock for stock, _ in times), 1),
        "ours_us": round(1e6 * statistics.median(ours for _, ours in times), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(ratios[len(ratios) // 10], 2),
        "ratio_high": round(ratios[-1 - len(ratios) // 10], 2),
    }


def measure(game: str, steps: int, every: int, visits: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a game."""
    for name, infos in WARM.items():
        yield {"game": game, "what": "warm", "infos": name, **warm(game, infos)}
    yield {"game": game, "what": "mix", "infos": "with policy", **mix(game, steps, every)}
    for name, infos in WARM.items():
        yield {"game": game, "what": "first", "infos": name, **first(game, infos, visits)}


def main(arguments: Sequence[str] | None = None) -> None:
    given = harness.parser(
        __doc__,
        timed=False,
        steps=(10_000, "steps of the mix"),
        every=(10, "TextWorld plays one in so many episodes of the mix"),
        first=(100, "number of first visits"),
    ).parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for game in GAMES:
        for row in measure(game, given.steps, given.every, given.first):
            rows.append(row)
            rest = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("game", "what", "infos"))
            print(f"{game:40} {row['what']:5} {row['infos']:32} {rest}", flush=True)
    words = f"--steps {given.steps} --every {given.every} --first {given.first}"
    harness.write(given.out, {"command": f"python -m benchmarks.textworld_speed {words}", "cores": 1, "rows": rows})


if __name__ == "__main__":
    main()
