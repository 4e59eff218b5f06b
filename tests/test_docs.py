"""Committed reports match their committed results."""

import json
from pathlib import Path

import pytest

from experiments.compare.report import RESULTS, markdown
from experiments.reproduce import language_models, report
from experiments.reproduce.finding import judged
from tests import ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "docs").glob(f"*/{RESULTS}"))
POSTS = [folder for folder in FOLDERS if (folder / report.ABOUT).exists()]
REPORTS = [folder for folder in FOLDERS if folder not in POSTS]


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
    current = judged("other", language_models.measurements())
    assert [finding for finding in findings if finding.part == "other"] == current
    for name, _ in (pair for made in about.values() for pairs in made.figures.values() for pair in pairs):
        assert (folder / name).is_file(), name


def test_there_are_reports() -> None:
    assert {"bandit", "simple-actde", "simple-ppo", "simple-temperature"} <= {folder.name for folder in REPORTS}
    assert {folder.name for folder in POSTS} == {"post"}
