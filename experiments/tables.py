"""Markdown tables, and how they show an estimate."""

from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table. Cells are not padded, so that one changed number changes one line."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(cells, heads, tablefmt="github", disable_numparse=True, stralign=None)


def interval(estimate: Mapping[str, float | None] | None, form: str = ".2f") -> str:
    """Return "0.95 (0.83 to 1.00)", the value alone where there is no interval, or "" for None."""
    if estimate is None:
        return ""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return f"{value:{form}}" if low is None else f"{value:{form}} ({low:{form}} to {high:{form}})"
