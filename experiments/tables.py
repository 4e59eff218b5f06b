"""Format results as JSON, tables as Markdown, and estimates as text."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

_NUMBERS = re.compile(r"\[\n[\s\d.eE+,nul-]*\n *\]")  # a list of numbers; no JSON string has line breaks


def json_text(results: Mapping[str, Any]) -> str:
    """Return indented JSON, with each list of numbers on one line."""
    text = json.dumps(results, indent=1, allow_nan=False)
    return _NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    # cells are not padded, so a changed number changes only one line
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True, stralign=None)


def interval(estimate: Mapping[str, float | None] | None, format_spec: str = "z.2f") -> str:
    """Return an estimate with its interval as text, such as "0.95 (0.83 to 1.00)"."""
    if estimate is None:
        return ""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return (
        f"{value:{format_spec}}"
        if low is None
        else f"{value:{format_spec}} ({low:{format_spec}} to {high:{format_spec}})"
    )


def duration(seconds: float) -> str:
    """Return a duration as text, such as "25 min"."""
    if seconds < 120:
        return f"{seconds:z.0f} s"
    return f"{seconds / 60:z.0f} min" if seconds < 7200 else f"{seconds / 3600:z.1f} h"
