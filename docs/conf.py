"""Configuration of the documentation site, which `make docs` builds with Sphinx.

The source folder is the root of the repository, so that pages can link to README.md, NOTES.md and the benchmarks.
"""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import reference_pages  # noqa: E402

project = html_title = "actde"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "agents/shipped/*/README.md", "benchmarks/README.md", "docs/**.md"]
exclude_patterns = [".venv", "docs/_build", "experiments", "runs", "tests"]
html_theme = "furo"
html_copy_source = False
smartquotes = False  # they would change the dashes of options
myst_heading_anchors = 4
default_role = "code"  # docstrings have code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


def setup(app: Any) -> None:
    """Let Sphinx fill the generated parts of each page that it reads (see `reference_pages`)."""

    def fill(app: Any, name: str, text: list[str]) -> None:
        text[0] = reference_pages.filled(text[0])

    app.connect("source-read", fill)
