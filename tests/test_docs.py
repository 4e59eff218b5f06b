"""The documentation is correct, and committed reports match their committed results."""

import json
import shlex
from pathlib import Path

import pytest

from experiments.compare.report import RESULTS, markdown
from experiments.reproduce import language_models, report
from experiments.reproduce.finding import judge_claims
from tests import ROOT
from tests.helpers import pages
from tests.helpers.servers import server

FOLDERS = sorted(path.parent for path in (ROOT / "docs").glob(f"*/{RESULTS}"))
POSTS = [folder for folder in FOLDERS if (folder / report.ABOUT).exists()]
OTHERS = [ROOT / "docs/limits", ROOT / "docs/offline"]  # other kinds of reports, compared by tests/experiments
REPORTS = [folder for folder in FOLDERS if folder not in (*POSTS, *OTHERS)]

PAGES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]


# these scripts stand alone; the page on serving needs a server, and a page on own code is run by tests/test_cli_open.py
SCRIPTS = [page for page in PAGES if page not in ("docs/serving.md", "docs/how-to/own-game.md")]
SLOW = "docs/how-to/python.md"  # trains and compares
PYTHON = [
    pytest.param(page, block, marks=pytest.mark.slow if page == SLOW else (), id=page)
    for page in SCRIPTS
    for block in pages.blocks(page, "python")
]


@pytest.mark.parametrize(("page", "block"), PYTHON)
def test_python_runs(page: str, block: str, tmp_path: Path) -> None:
    pages.run_python(block, tmp_path)


@pytest.mark.slow
def test_the_page_about_serving_runs(tmp_path: Path) -> None:
    (command,) = pages.commands("docs/serving.md")
    client, trl = pages.blocks("docs/serving.md", "python")
    _, _, name, option, game, *words = shlex.split(command, comments=True)
    assert (name, option) == ("serve", "--game")
    with server(game, *words) as (_, address):
        pages.run_python(client.replace("http://127.0.0.1:8000", address), tmp_path)
    pages.run_python(trl, tmp_path)


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
def test_a_report_matches_its_results(folder: Path) -> None:
    results = json.loads((folder / RESULTS).read_text())
    assert (folder / "README.md").read_text() == markdown(results)
    assert (folder / "curves.svg").is_file()


@pytest.mark.parametrize("folder", POSTS, ids=lambda folder: folder.name)
def test_the_report_of_the_post_matches_its_results(folder: Path) -> None:
    findings, about = report.read(folder)
    assert (folder / report.README).read_text() == report.markdown(findings, about)
    assert {finding.part for finding in findings} == {*about, "other"}
    current = judge_claims("other", language_models.measurements())
    assert [finding for finding in findings if finding.part == "other"] == current
    for name, _ in (pair for made in about.values() for pairs in made.figures.values() for pair in pairs):
        assert (folder / name).is_file(), name


def test_there_are_reports() -> None:
    assert {"bandit", "simple-actde", "simple-ppo", "simple-temperature"} <= {folder.name for folder in REPORTS}
    assert {folder.name for folder in POSTS} == {"post"}
