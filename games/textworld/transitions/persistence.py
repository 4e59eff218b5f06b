r"""What is remembered of a game, as a file that processes share: written whole, checked by hash, never trusted blindly.

`NAME.states` lies beside the game (`generate --crawl`) or in the cache folder `states` under the hash of the
game's files and the infos. It is gzip over one line of JSON with the SHA-256 of the rest and what it belongs to,
and the rest as JSON: texts once each, and the nodes with their edges. A file that is damaged, of another game, of
another TextWorld or of another form, or with a command that the gatekeeper would stop, is not used and written
anew. Moments of the interpreter are not stored: where a known state is left by an unknown command, the episode's
commands are played again once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from games import files
from games.errors import GameError
from games.textworld.engines.command_filter import CommandFilter
from games.textworld.engines.protocol import EngineResponse
from games.textworld.transitions.graph import Edge, Node, Transitions

T = TypeVar("T")
FORMAT = 1
SUFFIX = ".states"
MAX_BYTES = 1_000_000_000
ADVICE = f"free some space, or name a writable folder in the environment variable {files.VARIABLE}"


def beside(story: Path) -> Path:
    """Where a crawled game's states lie."""
    return story.with_suffix(SUFFIX)


def in_cache(digest: str, infos: Sequence[str]) -> Path:
    """Where the cache keeps the states of a game, by the hash of its files and the infos asked for."""
    name = hashlib.sha256(json.dumps([digest, *infos]).encode()).hexdigest()
    return files.cache_folder("states") / f"{name[:32]}{SUFFIX}"


def save(graph: Transitions, digest: str, path: Path) -> None:
    """Add what `graph` knows to the file at `path`; what other processes have added stays."""
    if graph.broken is not None:
        return
    with files.disk_errors("write what is remembered of the game", ADVICE), files.file_lock(path.with_suffix(".lock")):
        load(graph, digest, path)
        write(graph, digest, path)


def write(graph: Transitions, digest: str, path: Path) -> None:
    """Write what `graph` knows to `path`, in place of what is there."""
    with graph.lock:
        rest = json.dumps(_pack(graph), separators=(",", ":")).encode()
    head = json.dumps({**_belongs(graph, digest), "sha256": hashlib.sha256(rest).hexdigest()}).encode()
    with files.disk_errors("write what is remembered of the game", ADVICE):
        files.atomic_write(path, gzip.compress(head + b"\n" + rest, compresslevel=6, mtime=0))


def load(graph: Transitions, digest: str, path: Path) -> bool:
    """Take over what the file at `path` knows; False, and nothing taken over, where it cannot be used."""
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
        head, _, rest = data.partition(b"\n")
        found = json.loads(head)
        right = isinstance(found, dict) and found.pop("sha256", None) == hashlib.sha256(rest).hexdigest()
        if len(data) > MAX_BYTES or not right or found != _belongs(graph, digest):
            return False
        nodes = _unpack(graph, json.loads(rest))
    except (OSError, EOFError, ValueError, TypeError, LookupError, RecursionError, GameError):
        return False
    with graph.lock:
        graph.adopt(nodes)
    return True


def _belongs(graph: Transitions, digest: str) -> dict[str, Any]:
    """What a file must say of itself to be used."""
    versions = [version("textworld"), version("jericho")]
    return {"format": FORMAT, "game": digest, "infos": list(graph.infos), "versions": versions}


def _pack(graph: Transitions) -> dict[str, Any]:
    """The graph as JSON: texts by number, nodes in the order of their keys."""
    texts: dict[str, int] = {}
    order = {key: place for place, key in enumerate(sorted(graph.nodes))}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def edge(command: str, edge: Edge) -> list[Any]:
        if edge.node is not None:
            return [number(command), number(edge.answer.text), order[edge.node.key], edge.turns,
                    edge.answer.intermediate_reward]  # fmt: skip
        return [number(command), {**asdict(edge.answer), "counted": edge.counted}, edge.turns]

    nodes = []
    for key in order:
        node = graph.nodes[key]
        policy = None if node.policy_commands is None else [*map(number, node.policy_commands)]
        extras = {name: number(text) for name, text in node.extras.items()}
        edges = [edge(command, e) for command, e in node.edges.items() if e.node is None or e.node.key in order]
        nodes.append([key.hex(), node.score, [*map(number, node.admissible_commands)], policy, extras, edges])
    return {"texts": list(texts), "nodes": nodes}


def _unpack(graph: Transitions, data: Any) -> dict[bytes, Node]:
    """The nodes of a file; raises one of the errors that `load` expects where their form is not right."""
    texts = [sys.intern(_of(str, text)) for text in _of(list, data["texts"])]
    guard = CommandFilter(graph.facts.command_templates)
    commands = {number: text for number, text in enumerate(texts) if guard.may_pass(text)}

    def text(number: Any) -> str:
        return texts[_of(int, number)]

    def said(number: Any) -> str:
        return commands[_of(int, number)]  # KeyError where it would not pass the gatekeeper

    def several(numbers: Any) -> tuple[str, ...]:
        return tuple(map(said, _of(list, numbers)))

    found: list[Node] = []
    for key, score, admissible, policy, extras, _ in _of(list, data["nodes"]):
        known = None if policy is None else several(policy)
        shown = {_of(str, name): text(number) for name, number in _of(dict, extras).items()}
        found.append(Node(bytes.fromhex(key), _of(int, score), several(admissible), known, shown, None))
    for node, (*_, edges) in zip(found, data["nodes"], strict=True):
        for command, *rest in _of(list, edges):
            node.edges[said(command)] = _ending(*rest) if len(rest) == 2 else _edge(graph, found, text, *rest)
    nodes = {node.key: node for node in found}
    if len(nodes) != len(found) or graph.root.key not in nodes:
        raise ValueError("not the nodes of this game")
    return nodes


def _edge(
    graph: Transitions, nodes: list[Node], text: Callable[[Any], str], said: Any, target: Any, turns: Any, progress: Any
) -> Edge:
    if progress is not None:
        _of(int, progress)
    if _of(int, target) < 0:
        raise ValueError("no such node")
    node = nodes[target]
    return Edge(graph.answer_in(node, text(said), progress or 0), node, _of(int, turns))


def _ending(answer: Any, turns: Any) -> Edge:
    fields = dict(_of(dict, answer))
    counted = fields.pop("counted")
    if counted is not None:
        before, after = map(partial(_of, str), _of(list, counted))
        counted = (before, after)
    for name in ("admissible_commands", "policy_commands"):
        if fields[name] is not None:
            fields[name] = tuple(_of(str, command) for command in _of(list, fields[name]))
    ending = EngineResponse(**fields)
    _of(str, ending.text), _of(int, ending.score), _of(bool, ending.won), _of(bool, ending.lost)
    return Edge(ending, None, _of(int, turns), counted)


def _of(kind: type[T], value: Any) -> T:
    """`value`, which must be of this type exactly."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
