"""The committed pages show the committed results."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.rlhf import exact_report, fit, screening_report

FOLDER = Path(__file__).parents[3] / "docs" / "rlhf"


@pytest.mark.parametrize(
    ("name", "page"),
    [("screening", screening_report.markdown), ("fit", fit.markdown), ("exact", exact_report.report)],
)
def test_a_page_is_that_of_its_results(name: str, page: Callable[[Mapping[str, Any]], str]) -> None:
    results = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert page(results) == (FOLDER / f"{name}.md").read_text(encoding="utf-8")
