"""The table of what fits where is that of the present predictions."""

import pytest

from experiments.memory_table import DECODERS, METHODS, cell, document, memories
from tests import ROOT

PAGE = ROOT / "docs/memory.md"


def test_a_cell_names_the_smallest_device_with_a_tenth_to_spare() -> None:
    assert [cell(7.2), cell(7.3), cell(130), cell(1234)] == ["7.2 (8)", "7.3 (16)", "130", "1,234"]


def test_the_page_has_the_present_prediction() -> None:
    name = "SmolLM2-135M"
    [(peak, parameters)] = memories(DECODERS[name], {"LoRA": METHODS["LoRA"]})
    assert f"| {name} | {parameters:.3g} | {cell(peak)} |" in PAGE.read_text()


@pytest.mark.slow
def test_the_whole_page_is_that_of_the_present_predictions() -> None:
    command = PAGE.read_text().split("`")[1].partition("  #")[0]
    assert document(command) == PAGE.read_text()
