"""Store transition graphs in files."""

import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from games import files
from games.errors import GameError
from games.textworld.engines.command_filter import CommandFilter
from games.textworld.engines.protocol import EngineResponse
from games.textworld.transitions.graph import TransitionGraph
from games.textworld.transitions.nodes import Edge, Node

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 2
SUFFIX = ".states"
MAX_BYTES = 1_000_000_000
ADVICE = f"free some space, or name a writable folder in the environment variable {files.VARIABLE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending(EngineResponse):
    """The response that ends a game."""

    counted: tuple[str, str, str] | None  # `Edge.text_around_turns`


# (command, text, next node, turns, intermediate reward) or, at the end of the game, (command, ending, turns)
_Edge = tuple[int, int, int, int, int | None] | tuple[int, _Ending, int]
# (key in hexadecimal, score, admissible commands, policy commands, name -> text of the extras, edges)
_Node = tuple[str, int, list[int], list[int] | None, dict[str, int], list[_Edge]]


@dataclass(frozen=True, slots=True)
class _Content:
    """The nodes of one game. Nodes refer to texts and to other nodes by index."""

    texts: list[str]
    nodes: list[_Node]


@cache
def _content() -> "TypeAdapter[_Content]":
    from pydantic import TypeAdapter

    return TypeAdapter(_Content)


def crawled_path(story: Path) -> Path:
    """Return the path to which `crawl_file` writes, in the folder of `story`."""
    return story.with_suffix(SUFFIX)


def shared_path(digest: str, infos: Sequence[str]) -> Path:
    """Return the path of the cache file for a game's graph. `digest` is a hash of the game's files."""
    name = hashlib.sha256(json.dumps([digest, *infos]).encode()).hexdigest()
    return files.cache_folder("states") / f"{name[:32]}{SUFFIX}"


def save(graph: TransitionGraph, digest: str, path: Path) -> None:
    """Merge the file `path` into `graph`, then write `graph` to `path`."""
    if graph.invalid_reason is not None:
        return
    with files.disk_errors("write the cached transitions of the game", ADVICE), files.building(path):
        load(graph, digest, path)
        write(graph, digest, path)


def write(graph: TransitionGraph, digest: str, path: Path) -> None:
    """Write `graph` to a file, atomically."""
    with graph.lock:
        content = json.dumps(_pack(graph), separators=(",", ":")).encode()
    header = json.dumps({**_header(graph, digest), "sha256": hashlib.sha256(content).hexdigest()}).encode()
    with files.disk_errors("write the cached transitions of the game", ADVICE):
        files.atomic_write(path, gzip.compress(header + b"\n" + content, compresslevel=6, mtime=0))


def load(graph: TransitionGraph, digest: str, path: Path) -> bool:
    """Merge a file into `graph`. Return False if the file is missing, damaged or from another game."""
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
        header_line, _, content = data.partition(b"\n")
        header = json.loads(header_line)
        intact = isinstance(header, dict) and header.pop("sha256", None) == hashlib.sha256(content).hexdigest()
        if len(data) > MAX_BYTES or not intact or header != _header(graph, digest):
            return False
        nodes = _unpack(graph, content)
    except (OSError, EOFError, ValueError, TypeError, LookupError, RecursionError, GameError):
        return False
    graph.merge(nodes)
    return True


def _header(graph: TransitionGraph, digest: str) -> dict[str, Any]:
    versions = [version("textworld"), version("jericho")]
    return {"format": FORMAT, "game": digest, "infos": list(graph.infos), "versions": versions}


def _pack(graph: TransitionGraph) -> dict[str, Any]:
    texts: dict[str, int] = {}
    node_indices = {key: i for i, key in enumerate(sorted(graph.nodes))}

    def text_index(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def edge(command: str, edge: Edge) -> list[Any]:
        if edge.target is not None:
            return [text_index(command), text_index(edge.response.text), node_indices[edge.target.key], edge.turns,
                    edge.response.intermediate_reward]  # fmt: skip
        return [text_index(command), {**asdict(edge.response), "counted": edge.text_around_turns}, edge.turns]

    nodes = []
    for key in node_indices:
        node = graph.nodes[key]
        policy = None if node.policy_commands is None else [*map(text_index, node.policy_commands)]
        extras = {name: text_index(text) for name, text in node.extras.items()}
        edges = [
            edge(command, e) for command, e in node.edges.items() if e.target is None or e.target.key in node_indices
        ]
        nodes.append([key.hex(), node.score, [*map(text_index, node.admissible_commands)], policy, extras, edges])
    return {"texts": list(texts), "nodes": nodes}


def _unpack(graph: TransitionGraph, data: bytes) -> dict[bytes, Node]:
    """Return the nodes in `data` by key."""
    content = _content().validate_json(data, strict=True)
    texts = [*map(sys.intern, content.texts)]
    command_filter = CommandFilter(graph.game_info.command_templates)
    commands = {index: text for index, text in enumerate(texts) if command_filter.may_pass(text)}

    def command_list(indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(commands[index] for index in indices)

    nodes: list[Node] = []
    for key, score, admissible, policy, extras, _ in content.nodes:
        policy_commands = None if policy is None else command_list(policy)
        extra_texts = {name: texts[index] for name, index in extras.items()}
        nodes.append(Node(bytes.fromhex(key), score, command_list(admissible), policy_commands, extra_texts, None))
    for node, (*_, edges) in zip(nodes, content.nodes, strict=True):
        for edge in edges:
            if len(edge) == 3:
                fields = asdict(edge[1])
                text_around_turns = fields.pop("counted")
                node.edges[commands[edge[0]]] = Edge(EngineResponse(**fields), None, edge[2], text_around_turns)
                continue
            index, text, target, turns, reward = edge
            if target < 0:
                raise ValueError("no such node")
            response = graph.response_in(nodes[target], texts[text], reward or 0)
            node.edges[commands[index]] = Edge(response, nodes[target], turns)
    nodes_by_key = {node.key: node for node in nodes}
    if len(nodes_by_key) != len(nodes) or graph.root.key not in nodes_by_key:
        raise ValueError("not the nodes of this game")
    return nodes_by_key
