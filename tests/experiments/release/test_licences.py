"""The table of licences covers the tested set."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from experiments import program
from experiments.release import licences
from experiments.release.licences import CONSTRAINTS, licence, needed_packages, pinned_packages
from tests import ROOT

DOCUMENT = (ROOT / "docs" / "licences.md").read_text()
TESTED = list(pinned_packages(CONSTRAINTS.read_text()))


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
    assert "jericho" in needed_packages("actde") and "py4j" not in needed_packages("actde")
    assert "py4j" in needed_packages("actde", ["express"])


def test_a_missing_package_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("no-such-package==1.0\n")
    monkeypatch.setattr(licences, "CONSTRAINTS", constraints)
    monkeypatch.setattr(sys, "argv", ["licences", "--out", str(tmp_path / "licences.md")])
    with pytest.raises(SystemExit, match="2"):
        program.run(licences.main)
    assert capsys.readouterr().err.endswith(
        "error: the package no-such-package is not installed; expected the environment of `make test-long`\n"
    )
    assert list(tmp_path.iterdir()) == [constraints]
