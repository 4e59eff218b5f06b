"""Plays the card's rows and keeps them: a task, told or untold, an agent, sampled or greedy.

Results are a JSON file that is written after every row. A row is played again only where its agent's digest, the
task's games or settings, or the number of episodes changed; rows of agents that were not asked for now stay, but those
of what an agent was before are dropped at once, so that no card shows two agents under one name. Games are
deterministic, so a greedy agent, and the walkthrough, play each game once; others play as many episodes as were asked
for, a different game each while there are as many.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import games
from agents.model.pretrained import PACKAGE, SMOLLM2
from agents.play.evaluate import evaluate
from agents.protocol import AgentError
from agents.registry import NAMES, TRAINED, agent_folder, make_agent
from agents.storage.checkpoint import AGENT, newest, read_json
from experiments.card.held_out import Found, find, from_json, identity
from experiments.card.tasks import TASKS, VARIANTS, Task
from games.files import atomic_write
from games.game_hash import game_hash

FORMAT = 1
"""Raise to have every row played again."""
PARALLEL = 16
PLAIN = ("random", "walkthrough")
"""The agents that every card has."""
MEASURES = ("success_rate", "normalized_score", "steps", "steps_to_win", "entropy")
"""What is kept of an evaluation."""
How = Literal["sampled", "greedy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """An agent of the card."""

    name: str
    source: str
    """Who really plays, for `make_agent`: the folder of a trained agent, else the name."""
    digest: str
    """Changes where the agent does; its name for agents that cannot change."""
    trained_on: frozenset[str]
    """Canonical hashes of the games that it learned from."""

    @property
    def ways(self) -> tuple[How, ...]:
        """How it plays: an agent with a policy both ways, the walkthrough every game once."""
        if self.name == "random":
            return ("sampled",)
        return ("greedy",) if self.name == "walkthrough" else ("sampled", "greedy")


def players(names: str | None, notify: Callable[[str], None]) -> list[Player]:
    """The agents of these names or folders, joined by commas (None: those that ship), after random and walkthrough.

    AgentError for an unknown one, and for the human.
    """
    if names is None:
        wanted = [name for name in TRAINED if _ships(name, notify)]
    else:
        wanted = [name.strip() for name in names.split(",")]
    if "human" in wanted:
        raise AgentError("the card is played by agents; a person plays with: play --agent human")
    return [_player(name, notify) for name in dict.fromkeys((*PLAIN, *wanted))]


def _ships(name: str, notify: Callable[[str], None]) -> bool:
    """Whether a shipped agent plays as itself and not as another."""
    try:
        return agent_folder(name, notify).name == name
    except AgentError:
        return False


def _player(name: str, notify: Callable[[str], None]) -> Player:
    if name in PLAIN:
        return Player(name=name, source=name, digest=name, trained_on=frozenset())
    if name == SMOLLM2:
        return Player(name=name, source=name, digest=f"{name} {version(PACKAGE)}", trained_on=frozenset())
    folder = newest(agent_folder(name, notify))
    about = read_json(folder / AGENT)
    return Player(name=name, source=str(folder), digest=about["digest"], trained_on=frozenset(_trained_on(about)))


def _trained_on(about: dict[str, Any]) -> Iterator[str]:
    """The hashes that a checkpoint keeps of the games it learned from; older ones keep the name of these games."""
    if "trained_on" in about:
        yield from about["trained_on"]
    elif "made_by" in about:
        yield from map(game_hash, games.resolve(about["made_by"]["train"]["game"]))


def play(
    path: Path,
    tasks: Sequence[Task],
    wanted: Sequence[Player],
    *,
    episodes: int,
    progress: Callable[[str, float, float], None],
) -> Iterator[dict[str, Any]]:
    """Play every row that the results in `path` lack; yields the results after each of them, and at the end.

    Told rows of all tasks come first, so that an interrupted card says something of every task. See
    `document.markdown`. AgentError where the results are of another number of episodes.
    """
    results = _read(path, episodes)
    digests = {player.name: player.digest for player in wanted}
    results["rows"] = [
        row for row in results["rows"] if row["of"]["agent"] == digests.get(row["agent"], row["of"]["agent"])
    ]
    places = [
        (variant, task, player, how)
        for variant in VARIANTS
        for task in tasks
        for player in wanted
        for how in player.ways
    ]
    found: dict[str, list[Found]] = {}
    for done, (variant, task, player, how) in enumerate(places):
        if task.name not in found:
            progress(f"games of {task.name}", done, len(places))
            found[task.name] = _games(path, results, task, episodes)
        progress(f"{task.name}, {variant}: {player.name}, {how}", done, len(places))
        key = {"task": task.name, "variant": variant, "agent": player.name, "how": how}
        of = _settings(task, found[task.name]) | {"agent": player.digest}
        if not any(key | {"of": of} == {name: row[name] for name in (*key, "of")} for row in results["rows"]):
            others = [row for row in results["rows"] if not key.items() <= row.items()]
            row = {**key, "of": of, **_played(task, variant, found[task.name], player, how, episodes)}
            results["rows"] = _ordered([*others, row])
            _write(path, results)
            yield results
    yield results


def _played(
    task: Task, variant: str, found: Sequence[Found], player: Player, how: How, episodes: int
) -> dict[str, Any]:
    """One row's numbers."""
    begin = time.monotonic()
    specs = [games.resolve(task.game(variant, level, seed))[0] for level, seed, _ in found]
    played = evaluate(
        make_agent(player.source, seed=0, greedy=how == "greedy"),
        specs,
        game=task.name,
        episodes=len(specs) if how == "greedy" else episodes,
        seed=0,
        parallel=PARALLEL,
        max_turns=task.max_turns,
    ).to_json()
    return {
        "games": len(specs),
        "trained_on": sum(name in player.trained_on for _, _, name in found),
        "seconds": round(time.monotonic() - begin, 1),
        "evaluation": {name: played[name] for name in ("episodes", "errors", *MEASURES)},
    }


def _games(path: Path, results: dict[str, Any], task: Task, count: int) -> list[Found]:
    """The task's games, found now or before; rows of what the task was before are dropped."""
    kept = results["games"].get(task.name, {})
    found = find(task, count, from_json(kept["games"]) if kept.get("of") == identity(task) else [])
    results["games"][task.name] = {"of": identity(task), "games": [list(game) for game in found]}
    wanted = _settings(task, found)
    results["rows"] = [
        row for row in results["rows"] if row["task"] != task.name or wanted.items() <= row["of"].items()
    ]
    _write(path, results)
    return found


def _settings(task: Task, found: Sequence[Found]) -> dict[str, Any]:
    """What a row depends on besides the agent and the number of episodes."""
    played = sha256(json.dumps([identity(task), found]).encode()).hexdigest()[:16]
    return {"format": FORMAT, "games": played, "max_turns": task.max_turns}


def _read(path: Path, episodes: int) -> dict[str, Any]:
    """Earlier results, without rows of tasks that there are no more or whose games they do not name."""
    if not path.exists():
        return {"episodes": episodes, "games": {}, "rows": []}
    results = read_json(path)
    if not results.keys() >= {"episodes", "games", "rows"}:
        raise AgentError(f"{path} is damaged: expected episodes, games and rows, got {sorted(results)}")
    if results["episodes"] != episodes:
        raise AgentError(
            f"{path} is of {results['episodes']} episodes a task, not {episodes}; choose another --out, or remove it"
        )
    names = {task.name for task in TASKS} & results["games"].keys()
    return results | {"rows": [row for row in results["rows"] if row["task"] in names]}


def _write(path: Path, results: dict[str, Any]) -> None:
    """Write the results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def _ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in the card's order, so that results do not depend on the order in which they were made."""
    tasks = [task.name for task in TASKS]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        agent = row["agent"]
        rank = NAMES.index(agent) if agent in NAMES else len(NAMES)
        where = tasks.index(row["task"]), VARIANTS.index(row["variant"])
        return (*where, agent in PLAIN, rank, agent, row["how"] == "greedy")

    return sorted(rows, key=place)
