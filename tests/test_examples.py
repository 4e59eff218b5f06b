"""The examples run as they stand, with the smallest numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers import pages

SCRIPTS = {
    "ask_agent.py": ("--turns", "2"),
    "compare_and_plot.py": ("--seeds", "1", "--iterations", "2", "--out", "figure.svg"),
    "loop.py": ("--optimizer", "actde", "--rollouts", "2"),
}
SHOWN = {
    "ask_agent.py": "turn 2  v(s) ",
    "compare_and_plot.py": "the figure is in figure.svg",
    "loop.py": "rollout   2  reward per turn ",
}


def run(folder: Path, *words: str | Path) -> str:
    """Run Python in a folder, without warnings, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *words], cwd=folder, capture_output=True, text=True, timeout=1200, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "compare" in name else ()) for name in SCRIPTS]
)
def test_a_script_runs(name: str, tmp_path: Path) -> None:
    assert SHOWN[name] in run(tmp_path, ROOT / "examples" / name, *SCRIPTS[name])


@pytest.mark.parametrize("words", [("--agent", "ppo-small"), ("--agent", "random", "--game", "bandit")])
def test_agents_without_q_or_v_can_be_asked(words: tuple[str, ...], tmp_path: Path) -> None:
    assert " q    nan  " in run(tmp_path, ROOT / "examples" / "ask_agent.py", "--turns", "1", *words)


def test_all_examples_are_tested() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*SCRIPTS, *OWN_CODE}


OWN_CODE = {"guess.py": "own-game", "averaged.py": "own-optimizer", "short.py": "own-reward"}


@pytest.mark.parametrize("name", OWN_CODE)
def test_own_code_is_that_of_its_page(name: str) -> None:
    """The commands of the page are run by tests/test_cli_open.py."""
    assert pages.blocks(f"docs/how-to/{OWN_CODE[name]}.md", "python")[0] == (ROOT / "examples" / name).read_text()


def test_the_loop_has_at_most_150_lines() -> None:
    assert len((ROOT / "examples" / "loop.py").read_text().splitlines()) <= 150


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "examples" / "mode_collapse.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "ROLLOUTS = 40\n" in code
    (tmp_path / "notebook.py").write_text(
        "import matplotlib\nmatplotlib.use('Agg')\n" + code.replace(" = 40\n", " = 1\n")
    )
    shown = run(tmp_path, "-W", "ignore:FigureCanvasAgg", "notebook.py")
    assert "before " in shown
    assert "actde: reward" in shown
