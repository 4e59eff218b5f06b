"""The committed pages show the committed results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.rlhf import confirmation_report, exact_report, fit, long, screening_report, tilt

FOLDER = Path(__file__).parents[3] / "docs" / "rlhf"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("confirmation", confirmation_report.markdown),
        ("exact", exact_report.report),
        ("fit", fit.markdown),
        ("long", long.markdown),
        ("screening", screening_report.markdown),
        ("tilt", tilt.markdown),
    ],
)
def test_a_page_is_that_of_its_results(name: str, page: Callable[[Any], str]) -> None:
    results = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert page(results) == (FOLDER / f"{name}.md").read_text(encoding="utf-8")
