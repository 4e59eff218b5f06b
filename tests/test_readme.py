"""The README is correct and short: its commands are valid, and its files, lines and texts exist."""

import json
import re

from tests import ROOT
from tests.helpers import pages

README = (ROOT / "README.md").read_text()
COMMANDS = pages.commands("README.md")


def test_make_targets_exist() -> None:
    rules = (ROOT / "Makefile").read_text()
    for target in (line.split()[1] for line in COMMANDS if line.startswith("make ")):
        assert re.search(rf"^{target}:", rules, re.MULTILINE)


def test_files_exist() -> None:
    names = re.findall(r"^([\w/]+(?:\.\w+|/))  ", README, re.MULTILINE) + re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(names) > 6
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_differing_lines_are_in_the_source() -> None:
    lines = re.findall(r"^(actde/\w+\.py) +(return .*)$", README, re.MULTILINE)
    assert len(lines) == 2
    for name, line in lines:
        assert line in (ROOT / name).read_text()


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_texts_are_those_of_the_experiment() -> None:
    rows = re.findall(r"^\| (before|PPO|ACTDE|PPO with KL) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["before", "PPO", "ACTDE", "PPO with KL"]
    cells = {"before": "ppo", "PPO": "ppo", "ACTDE": "actde", "PPO with KL": "ppo-kl"}
    runs = json.loads((ROOT / "docs/rlhf/confirmation.json").read_text())["runs"]
    for name, *texts in rows:
        (run,) = (run for run in runs if (run["cell"], run["seed"]) == (cells[name], 2000))
        probe = run["probes"][0 if name == "before" else -1]
        assert [text.strip() for text in probe["texts"][:2]] == texts
