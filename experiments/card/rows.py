"""Compute the evaluation card. Each row holds the results of one agent on one task."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

import games
from agents.config import SMOLLM2
from agents.model.pretrained import PACKAGE
from agents.play.evaluate import Estimate, evaluate
from agents.protocol import AgentError
from agents.registry import NAMES, TRAINED, agent_folder, make_agent
from agents.storage.checkpoint_files import AGENT, newest, read_json
from experiments.card.held_out import HeldOutGame, find_games, task_hash, training_games
from experiments.card.tasks import TASKS, VARIANTS, Task
from games.cluster_pool import ClusterPool
from games.files import atomic_write, create_folder, json_hash
from games.untrusted_files import is_present, validated

FORMAT = 1  # increase this number to play every row again
Mode = Literal["sampled", "greedy"]
# The agents on every card, and the modes in which they play. All other agents play in both modes.
BASELINES: dict[str, tuple[Mode, ...]] = {"random": ("sampled",), "walkthrough": ("greedy",)}
Results = dict[str, Any]  # a `StoredCard`


class StoredGames(TypedDict):
    """The held-out games of a task. `of` is a hash of the task's settings."""

    of: str
    games: list[tuple[int, int, str]]  # level, seed and canonical hash


class StoredEvaluation(TypedDict):
    """The part of an evaluation's results that the card stores."""

    episodes: int
    errors: int
    success_rate: Estimate
    normalized_score: Estimate | None
    steps: Estimate
    steps_to_win: Estimate | None
    entropy: Estimate | None


class StoredRow(TypedDict):
    """The results of one agent on one variant of a task, in one mode of play.

    Attributes:
        of: the agent's digest and the settings that determine the results.
        trained_on: number of games that the agent was trained on.
    """

    task: str
    variant: Literal["told", "untold"]
    agent: str
    how: Mode
    of: dict[str, Any]
    games: int
    trained_on: int
    evaluation: StoredEvaluation


class StoredCard(TypedDict):
    """The content of the card's JSON file. A sampling agent plays `episodes` episodes on each task."""

    episodes: int
    games: dict[str, StoredGames]
    rows: list[StoredRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """An agent on the card.

    Attributes:
        source: the argument of `make_agent`.
        digest: identifies the agent's version.
        trained_on: hashes of the training games.
    """

    name: str
    source: str
    digest: str
    trained_on: frozenset[str] = frozenset()

    @property
    def modes(self) -> tuple[Mode, ...]:
        return BASELINES.get(self.name, ("sampled", "greedy"))


def players(names: str | None, notify: Callable[[str], None]) -> list[Player]:
    """Return the baselines and the agents in the comma-separated `names`. None means all shipped agents.

    Raises:
        AgentError: a name is unknown, or "human".
    """
    shipped = (name for name in TRAINED if _is_available(name, notify))
    requested = list(shipped) if names is None else [name.strip() for name in names.split(",")]
    if "human" in requested:
        raise AgentError("agents play the card; to play yourself, use the command play with --agent human")
    return [_player(name, notify) for name in dict.fromkeys((*BASELINES, *requested))]


def _is_available(name: str, notify: Callable[[str], None]) -> bool:
    try:
        return agent_folder(name, notify).name == name  # else it is the folder of the fallback
    except AgentError:
        return False


def _player(name: str, notify: Callable[[str], None]) -> Player:
    if name in BASELINES:
        return Player(name=name, source=name, digest=name)
    if name == SMOLLM2:
        return Player(name=name, source=name, digest=f"{name} {version(PACKAGE)}")
    folder = newest(agent_folder(name, notify))
    metadata = read_json(folder / AGENT)
    return Player(name=name, source=str(folder), digest=metadata["digest"], trained_on=training_games(metadata))


def play(
    path: Path,
    tasks: Sequence[Task],
    agents: Sequence[Player],
    *,
    episodes: int,
    progress: Callable[[str, float, float], None],  # (activity, finished rows, all rows)
    pool: ClusterPool | None = None,
) -> Iterator[Results]:
    """Compute the rows that the file `path` lacks. After each row, yield the card.

    Raises:
        AgentError: the file is damaged, or has another number of episodes.
    """
    results = _read(path, episodes)
    digests = {player.name: player.digest for player in agents}
    results["rows"] = [
        row for row in results["rows"] if row["of"]["agent"] == digests.get(row["agent"], row["of"]["agent"])
    ]
    modes = [(player, mode) for player in agents for mode in player.modes]
    # the variant with the objective is first, so that an interrupted card covers as many tasks as possible
    schedule = list(product(VARIANTS, tasks, modes))
    held_out: dict[str, list[HeldOutGame]] = {}
    jobs: dict[Future[dict[str, Any]], dict[str, Any]] = {}
    for finished, (variant, task, (player, mode)) in enumerate(schedule):
        if task.name not in held_out:
            progress(f"games of {task.name}", finished, len(schedule))
            held_out[task.name] = _held_out_games(path, results, task, episodes)
        key = {"task": task.name, "variant": variant, "agent": player.name, "how": mode}
        row = {**key, "of": _row_settings(task, held_out[task.name]) | {"agent": player.digest}}
        if any(row.items() <= stored_row.items() for stored_row in results["rows"]):
            continue
        arguments = task, variant, held_out[task.name], player, mode, episodes
        if pool is not None:
            jobs[pool.submit(_evaluate, *arguments)] = row
            continue
        progress(f"{task.name}, {VARIANTS[variant]}: {player.name}, {mode}", finished, len(schedule))
        yield _add(path, results, row | _evaluate(*arguments))
    for finished, job in enumerate(as_completed(jobs)):
        progress(f"{finished} of {len(jobs)} rows", finished, len(jobs))
        yield _add(path, results, jobs[job] | job.result())
    yield results


def _add(path: Path, results: Results, row: dict[str, Any]) -> Results:
    key = {name: row[name] for name in ("task", "variant", "agent", "how")}.items()
    other_rows = [stored_row for stored_row in results["rows"] if not key <= stored_row.items()]
    results["rows"] = sorted([*other_rows, row], key=_position)
    _write(path, results)
    return results


def _evaluate(
    task: Task, variant: str, held_out: Sequence[HeldOutGame], player: Player, mode: Mode, episodes: int
) -> dict[str, Any]:
    start_time = time.monotonic()
    specs = [games.resolve(task.game(variant, game.level, game.seed))[0] for game in held_out]
    evaluation = evaluate(
        make_agent(player.source, seed=0, greedy=mode == "greedy"),
        specs,
        game=task.name,
        episodes=len(specs) if mode == "greedy" else episodes,  # games are deterministic
        seed=0,
        parallel=16,
        max_turns=task.max_turns,
    ).to_json()
    return {
        "games": len(specs),
        "trained_on": sum(game.hash in player.trained_on for game in held_out),
        "seconds": round(time.monotonic() - start_time, 1),
        "evaluation": {name: evaluation[name] for name in StoredEvaluation.__annotations__},
    }


def _held_out_games(path: Path, results: Results, task: Task, count: int) -> list[HeldOutGame]:
    """Return a task's first `count` held-out games. Store new games and remove outdated rows."""
    stored = results["games"].get(task.name, {})
    known_games = stored["games"] if stored.get("of") == task_hash(task) else []
    held_out = find_games(task, count, [HeldOutGame(*game) for game in known_games])
    results["games"][task.name] = {"of": task_hash(task), "games": held_out}
    settings = _row_settings(task, held_out).items()
    results["rows"] = [row for row in results["rows"] if row["task"] != task.name or settings <= row["of"].items()]
    _write(path, results)
    return held_out


def _row_settings(task: Task, held_out: Sequence[HeldOutGame]) -> dict[str, Any]:
    return {"format": FORMAT, "games": json_hash([task_hash(task), held_out])[:16], "max_turns": task.max_turns}


def _read(path: Path, episodes: int) -> Results:
    if not is_present(path):
        return {"episodes": episodes, "games": {}, "rows": []}
    results = read_json(path)
    validated(StoredCard, results, str(path), AgentError)
    if results["episodes"] != episodes:
        raise AgentError(
            f"{path} has {results['episodes']} episodes a task, not {episodes}; choose another --out, or remove it"
        )
    names = {task.name for task in TASKS} & results["games"].keys()
    results = results | {"rows": [row for row in results["rows"] if row["task"] in names]}
    if any(not 0 < row["games"] <= len(results["games"][row["task"]]["games"]) for row in results["rows"]):
        raise AgentError(f"{path} is damaged: a row has another number of games than its task")
    return results


def _write(path: Path, results: Results) -> None:
    create_folder(path.parent)
    atomic_write(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def _position(row: dict[str, Any]) -> tuple[Any, ...]:
    task_and_variant = [task.name for task in TASKS].index(row["task"]), list(VARIANTS).index(row["variant"])
    agent = row["agent"]
    rank = NAMES.index(agent) if agent in NAMES else len(NAMES)
    return (*task_and_variant, agent in BASELINES, rank, agent, row["how"] == "greedy")
