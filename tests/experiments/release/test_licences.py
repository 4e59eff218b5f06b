"""The table of licences covers the tested set."""

from importlib import metadata

import pytest

from experiments.release.licences import CONSTRAINTS, constrained, licence, needed
from tests import ROOT

DOCUMENT = (ROOT / "docs" / "licences.md").read_text()
TESTED = list(constrained(CONSTRAINTS.read_text()))


def test_every_package_of_the_tested_set_has_a_row() -> None:
    rows = [line.split(" | ")[:2] for line in DOCUMENT.splitlines() if line.startswith("| ")][1:]
    assert rows == [[f"| {name}", version] for name, version in TESTED]


@pytest.mark.parametrize(("package", "stated"), [("jericho", "General Public"), ("typer", "MIT"), ("textworld", "MIT")])
def test_the_licence_is_that_of_the_metadata(package: str, stated: str) -> None:
    assert stated in licence(package)
    assert f"{licence(package)} | core" in DOCUMENT


def test_an_unknown_package_has_no_licence() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        licence("no-such-package")


def test_extras_are_followed() -> None:
    assert "jericho" in needed("actde") and "py4j" not in needed("actde")
    assert "py4j" in needed("actde", ["express"])
