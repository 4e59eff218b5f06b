"""Store the transition graphs of games in files that processes share.

The file of a game that was crawled (`generate --crawl`) is beside the game, as `NAME.states`. All other files are in
the folder `states` of the cache folder. Their names are hashes of the game's files and the infos (`protocol.INFOS`).

Each file is compressed with gzip and consists of two JSON texts. The first text, one line, identifies the game, the
infos, the format and the versions of TextWorld and Jericho, and holds the SHA-256 of the second text. The second text
contains a list of strings and a list of nodes with their edges. A file is ignored if it is damaged, if its first line
does not match, or if it holds a command that the filter would stop. The next process that saves the game overwrites it.

Snapshots of the interpreter are not stored. If a loaded node has no edge for a command, the episode's commands are
replayed once to obtain a snapshot.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from games import files
from games.errors import GameError
from games.textworld.engines.command_filter import CommandFilter
from games.textworld.engines.protocol import EngineResponse
from games.textworld.transitions.graph import TransitionGraph
from games.textworld.transitions.nodes import Edge, Node

T = TypeVar("T")
FORMAT = 2
SUFFIX = ".states"
MAX_BYTES = 1_000_000_000
ADVICE = f"free some space, or name a writable folder in the environment variable {files.VARIABLE}"


def beside(story: Path) -> Path:
    """Return the path of the file beside `story` that holds a crawled game's transitions."""
    return story.with_suffix(SUFFIX)


def in_cache(digest: str, infos: Sequence[str]) -> Path:
    """Return the path of a game's file in the cache folder. `digest` is the hash of the game's files."""
    name = hashlib.sha256(json.dumps([digest, *infos]).encode()).hexdigest()
    return files.cache_folder("states") / f"{name[:32]}{SUFFIX}"


def save(graph: TransitionGraph, digest: str, path: Path) -> None:
    """Merge `graph` with the file at `path`. Do nothing if `graph` is invalid.

    Load the transitions of the file into `graph`, then write all transitions of `graph` to the file. `digest` is the
    hash of the game's files.
    """
    if graph.invalid_reason is not None:
        return
    with files.disk_errors("write the cached transitions of the game", ADVICE), files.building(path):
        load(graph, digest, path)
        write(graph, digest, path)


def write(graph: TransitionGraph, digest: str, path: Path) -> None:
    """Write the transitions of `graph` to the file at `path`, atomically. `digest` is the hash of the game's files."""
    with graph.lock:
        rest = json.dumps(_pack(graph), separators=(",", ":")).encode()
    head = json.dumps({**_header(graph, digest), "sha256": hashlib.sha256(rest).hexdigest()}).encode()
    with files.disk_errors("write the cached transitions of the game", ADVICE):
        files.atomic_write(path, gzip.compress(head + b"\n" + rest, compresslevel=6, mtime=0))


def load(graph: TransitionGraph, digest: str, path: Path) -> bool:
    """Add the transitions in the file at `path` to `graph`, and return whether this was possible.

    Return False if the file is missing or damaged, or if it was written for another game, for other infos or by other
    versions of TextWorld or Jericho. `digest` is the hash of the game's files.
    """
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
        head, _, rest = data.partition(b"\n")
        header = json.loads(head)
        intact = isinstance(header, dict) and header.pop("sha256", None) == hashlib.sha256(rest).hexdigest()
        if len(data) > MAX_BYTES or not intact or header != _header(graph, digest):
            return False
        nodes = _unpack(graph, json.loads(rest))
    except (OSError, EOFError, ValueError, TypeError, LookupError, RecursionError, GameError):
        return False
    with graph.lock:
        graph.merge(nodes)
    return True


def _header(graph: TransitionGraph, digest: str) -> dict[str, Any]:
    """Return the first line that the file of this graph must have, as a dict without the SHA-256.

    `digest` is the hash of the game's files.
    """
    versions = [version("textworld"), version("jericho")]
    return {"format": FORMAT, "game": digest, "infos": list(graph.infos), "versions": versions}


def _pack(graph: TransitionGraph) -> dict[str, Any]:
    """Return the graph as a JSON object with a list of strings, `texts`, and a list of nodes, `nodes`.

    The nodes are sorted by key. They refer to strings and to other nodes by their positions in these lists.
    """
    texts: dict[str, int] = {}
    order = {key: i for i, key in enumerate(sorted(graph.nodes))}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def edge(command: str, edge: Edge) -> list[Any]:
        if edge.node is not None:
            return [number(command), number(edge.response.text), order[edge.node.key], edge.turns,
                    edge.response.intermediate_reward]  # fmt: skip
        return [number(command), {**asdict(edge.response), "counted": edge.text_around_turns}, edge.turns]

    nodes = []
    for key in order:
        node = graph.nodes[key]
        policy = None if node.policy_commands is None else [*map(number, node.policy_commands)]
        extras = {name: number(text) for name, text in node.extras.items()}
        edges = [edge(command, e) for command, e in node.edges.items() if e.node is None or e.node.key in order]
        nodes.append([key.hex(), node.score, [*map(number, node.admissible_commands)], policy, extras, edges])
    return {"texts": list(texts), "nodes": nodes}


def _unpack(graph: TransitionGraph, data: Any) -> dict[bytes, Node]:
    """Convert the JSON object from a file to nodes. Return a dict: key of a node -> node.

    If the format is wrong, raise an exception that `load` catches.
    """
    texts = [sys.intern(_of(str, text)) for text in _of(list, data["texts"])]
    command_filter = CommandFilter(graph.game_info.command_templates)
    commands = {number: text for number, text in enumerate(texts) if command_filter.may_pass(text)}

    def text(number: Any) -> str:
        return texts[_of(int, number)]

    def command(number: Any) -> str:
        return commands[_of(int, number)]  # raises KeyError if the filter would stop the command

    def command_list(numbers: Any) -> tuple[str, ...]:
        return tuple(map(command, _of(list, numbers)))

    def edge(number: Any, target: Any, turns: Any, reward: Any) -> Edge:
        if _of(int, target) < 0 or type(reward) not in (int, NoneType):
            raise ValueError("no such node or reward")
        return Edge(graph.response_in(nodes[target], text(number), reward or 0), nodes[target], _of(int, turns))

    nodes: list[Node] = []
    for key, score, admissible, policy, extras, _ in _of(list, data["nodes"]):
        policy_commands = None if policy is None else command_list(policy)
        texts_of = {_of(str, name): text(number) for name, number in _of(dict, extras).items()}
        key = bytes.fromhex(key)
        nodes.append(Node(key, _of(int, score), command_list(admissible), policy_commands, texts_of, None))
    for node, (*_, edges) in zip(nodes, data["nodes"], strict=True):
        for number, *rest in _of(list, edges):
            node.edges[command(number)] = _last_edge(*rest) if len(rest) == 2 else edge(*rest)
    by_key = {node.key: node for node in nodes}
    if len(by_key) != len(nodes) or graph.root.key not in by_key:
        raise ValueError("not the nodes of this game")
    return by_key


def _last_edge(response: Any, turns: Any) -> Edge:
    fields = dict(_of(dict, response))
    around = fields.pop("counted")
    if around is not None:
        before, unit, after = map(partial(_of, str), _of(list, around))
        around = (before, unit, after)
    for name in ("admissible_commands", "policy_commands"):
        if fields[name] is not None:
            fields[name] = tuple(_of(str, command) for command in _of(list, fields[name]))
    ending = EngineResponse(**fields)
    _of(str, ending.text), _of(int, ending.score), _of(bool, ending.won), _of(bool, ending.lost)
    return Edge(ending, None, _of(int, turns), around)


def _of(kind: type[T], value: Any) -> T:
    """Return `value`. Raise TypeError if its type is not exactly `kind`."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
