"""The table of what fits where is that of the present predictions."""

import pytest

from experiments.memory_table import DECODERS, METHODS, cell, document, peaks_and_parameters
from tests import ROOT

PAGE = ROOT / "docs/memory.md"


def test_a_cell_names_the_smallest_device_with_a_tenth_to_spare() -> None:
    assert [cell(7.2), cell(7.3), cell(130), cell(1234)] == ["7.2 (8)", "7.3 (16)", "130", "1,234"]


@pytest.mark.parametrize(("name", "method"), [("SmolLM2-135M", "LoRA"), ("GPT-NeoX-20B", "8 shards by layer")])
def test_a_cell_of_the_page_has_the_present_prediction(name: str, method: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    [written] = [dict(zip(rows[0], row, strict=True)) for row in rows if row[0] == name]
    [(peak, parameters)] = peaks_and_parameters(DECODERS[name], {method: METHODS[method]})
    assert (written["10^9 parameters"], written[method]) == (f"{parameters:.3g}", cell(peak))


@pytest.mark.slow
def test_the_whole_page_is_that_of_the_present_predictions() -> None:
    command = PAGE.read_text().split("`")[1].partition("  #")[0]
    assert document(command) == PAGE.read_text()
