"""Arrows between subpackages, and import cycles. Imports inside functions count; imports for type checkers do not."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("actde", "agents", "games", "experiments", "terminal")
SUBPACKAGES: dict[str, set[str]] = {
    "agents.text": set(),
    "agents.play": set(),
    "agents.model": {"agents.text"},
    "agents.language_model": {"agents.model", "agents.text"},
    "agents.storage": {"agents.language_model", "agents.model", "agents.play", "agents.text"},
    "agents.training": {
        *("agents.language_model", "agents.model", "agents.play", "agents.storage", "agents.text"),
    },
    "games.completion": set(),
    "games.suites": set(),
    "games.serving": set(),
    "games.textworld.upstream": set(),
    "games.textworld.engines": {"games.textworld.upstream"},
    "games.textworld.validation": {"games.textworld.upstream"},
    "games.textworld.generation": {"games.textworld.upstream", "games.textworld.validation"},
    "games.textworld.transitions": {
        *("games.textworld.engines", "games.textworld.generation", "games.textworld.upstream"),
    },
    "experiments.compare": set(),
    "experiments.decoders": set(),
    "experiments.card": {"experiments.compare"},
    "experiments.limits": set(),
    "experiments.offline": {"experiments.compare"},
    "experiments.release": {"experiments.card", "experiments.compare"},
    "experiments.reproduce": {"experiments.compare", "experiments.rlhf"},
    "experiments.rlhf": {"experiments.compare"},
    "terminal.watcher": set(),
}
"""The sibling subpackages that each one may import. All may import modules beside them, such as agents/protocol.py."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
MODULES["cli"] = ROOT / "cli.py"


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from run_time_nodes(child)


def imports(name: str) -> set[str]:
    """Our modules that a module imports at run time, also inside functions."""
    found = set()
    for node in run_time_nodes(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else str(node.module) for full in inside}
    return found & set(MODULES) - {name}


GRAPH = {name: imports(name) for name in MODULES}


def subpackage(name: str) -> str | None:
    """The subpackage in SUBPACKAGES that contains a module, or None."""
    return next((package for package in SUBPACKAGES if name == package or name.startswith(package + ".")), None)


def test_no_module_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", SUBPACKAGES)
def test_arrows_between_subpackages(package: str) -> None:
    allowed = {None, package} | SUBPACKAGES[package]
    wrong = [
        f"{name} imports {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if subpackage(name) == package
        and subpackage(target) not in allowed
        and target.partition(".")[0] == package.partition(".")[0]
    ]
    assert not wrong


def test_every_subpackage_is_in_the_table() -> None:
    folders = {module_of(path.parent / "__init__.py") for path in MODULES.values()}
    parents = {"cli", "", "games.textworld", *PACKAGES}
    assert {folder for folder in folders - parents if subpackage(folder) is None} == set()
