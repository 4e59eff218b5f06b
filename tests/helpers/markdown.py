"""Links, anchors and tables of Markdown pages."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER = MarkdownIt("commonmark").enable("table")


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images."""
    for token in _inline(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield str(target)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and Sphinx name them."""
    tokens = PARSER.parse(page.read_text(encoding="utf-8"))
    heads = [_text(inline) for token, inline in pairwise(tokens) if token.type == "heading_open"]
    slugs = [re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads]
    counts = Counter[str]()
    found = set()
    for slug in slugs:
        found.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return found


def first_cells(page: Path, head: str) -> list[str]:
    """Return the words in code in the first column of the tables whose first column has this head."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def _inline(page: Path) -> Iterator[Token]:
    return (token for token in PARSER.parse(page.read_text(encoding="utf-8")) if token.type == "inline")


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())
