"""Committed reports say what their committed results say."""

import json
from pathlib import Path

import pytest

from experiments.report import RESULTS, markdown

REPORTS = sorted(path.parent for path in (Path(__file__).parent.parent / "docs").glob(f"*/{RESULTS}"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
def test_a_report_follows_from_its_results(folder: Path) -> None:
    results = json.loads((folder / RESULTS).read_text())
    assert (folder / "README.md").read_text() == markdown(results)
    assert (folder / "curves.svg").is_file()


def test_there_are_reports() -> None:
    assert {"bandit", "simple-actde", "simple-ppo", "simple-temperature"} <= {folder.name for folder in REPORTS}
