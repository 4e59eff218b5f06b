"""Tests of the text form of results."""

import json

import pytest

from experiments.tables import json_text


def test_lists_of_numbers_take_one_line_and_the_values_stay() -> None:
    """A long curve takes one line. Strings that look like lists keep their text. An outer list keeps its lines."""
    results = {"a": [1, -2.5e-9, None], "b": "[ 1,  2 ]", "c": [{"d": [[1], [2, 3]]}], "e": []}
    text = json_text(results)
    assert json.loads(text) == results
    assert '"a": [1, -2.5e-09, null]' in text and "[2, 3]" in text and len(text.splitlines()) == 13


def test_infinite_numbers_are_refused() -> None:
    """JSON has no such number."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"a": float("inf")})
