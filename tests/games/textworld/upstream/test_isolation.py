"""Only `games/textworld/upstream/` uses private names of TextWorld and Jericho, or changes their objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jericho
import textworld

from tests import ROOT

UPSTREAM = ROOT / "games" / "textworld" / "upstream"
PACKAGES = ("textworld", "jericho")
PUBLIC_JERICHO = {ROOT / "games" / "textworld" / "engines" / "jericho.py"}
"""The module that may import Jericho: it plays other stories through Jericho's public interface."""


def sources() -> list[Path]:
    folders = ("actde", "agents", "games", "experiments", "terminal")
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if UPSTREAM not in p.parents]


@cache
def private_names() -> frozenset[str]:
    """The private attributes and functions in the sources of both packages."""
    names: set[str] = set()
    for package in (textworld, jericho):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                name = getattr(node, "attr", None) or getattr(node, "name", None)
                if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
                    names.add(name)
    return frozenset(names)


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the module of each import, and the name that the import binds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.asname or alias.name) for alias in node.names)


def faults(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    ours = {(module, name) for module, name in imported(tree) if module.partition(".")[0] in PACKAGES}
    names = {name for _, name in ours}
    found = [f"imports {name} of {module}" for module, name in sorted(ours) if name.startswith("_")]
    if path not in PUBLIC_JERICHO:
        found += [f"imports {module}" for module, _ in ours if module.partition(".")[0] == "jericho"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _base(node) in names:
            found.append(f"line {node.lineno} assigns {ast.unparse(node)}")
        if (
            isinstance(node, ast.Attribute)
            and node.attr in private_names()
            and _base(node) not in ("self", "cls", "other")
        ):
            found.append(f"line {node.lineno} reads {ast.unparse(node)}")
    return found


def _base(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_nothing_outside_upstream_uses_private_names() -> None:
    found = {str(path.relative_to(ROOT)): faults(path) for path in sources()}
    assert {path: some for path, some in found.items() if some} == {}


def test_a_use_of_private_names_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from textworld.logic import _PARSER\nfrom textworld import logic\nimport jericho\n"
        "logic.GameLogic.load = None\nenv._wrapped_env.step\n"
    )
    assert len(faults(path)) == 4
