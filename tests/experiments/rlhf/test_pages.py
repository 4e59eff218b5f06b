"""The committed pages show the committed results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.compare import report as comparison
from experiments.rlhf import ablation, confirmation, exact_report, fit, long, screening, tilt

FOLDER = Path(__file__).parents[3] / "docs" / "rlhf"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("confirmation", confirmation.markdown),
        ("exact", exact_report.report),
        ("fit", fit.markdown),
        ("long", long.markdown),
        ("screening", screening.markdown),
        ("tilt", tilt.markdown),
    ],
)
def test_a_page_is_that_of_its_results(name: str, page: Callable[[Any], str]) -> None:
    results = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert page(results) == (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_the_quick_comparison_shows_its_settings() -> None:
    results = json.loads((FOLDER / "quick" / comparison.RESULTS).read_text(encoding="utf-8"))
    page = comparison.markdown(results)
    assert page == (FOLDER / "quick" / "README.md").read_text(encoding="utf-8")
    settings = results["runs"][0]["settings"]
    lr, iterations = settings["update"]["lr"], settings["budget"]["iterations"]
    assert f"`--quick` stands for `--iterations {iterations}`, `--lr {lr}`" in page
    assert "entropy of a text" in page
    results["runs"][0]["collapse"]["texts"]["samples"][0][1] = "a | b\nc"
    assert r"| a \| b c |" in comparison.markdown(results)


def test_the_page_on_the_ablations_is_that_of_its_results(tmp_path: Path) -> None:
    for name in ("ablation.json", "confirmation.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    ablation.write(tmp_path)
    assert (tmp_path / "ablation.md").read_bytes() == (FOLDER / "ablation.md").read_bytes()
