"""Findings get the verdict that follows from their numbers; reports are read strictly, and parts share one."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import AgentError
from experiments import reproduce
from experiments.reproduce import Outcome, report
from experiments.reproduce.finding import (
    CONTRADICTS,
    CRITERIA,
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_TESTABLE,
    OPEN,
    REPRODUCED,
    SECTIONS,
    Claim,
    Comparison,
    Finding,
    Measurement,
    judge_claim,
    load_claims,
)
from tests import ROOT

SECTION = SECTIONS[1]
UNDECIDED = {OPEN: 0, NOT_RUN: 0, NOT_TESTABLE: 0}
INFO = report.RunInfo(command="python cli.py reproduce", seed=0, quick=True, seconds=1.5, versions={"python": "3"})


def compared(
    name: str = "bandit.x", *, post: str, ours: float, comparison: Comparison = "rounded", **more: Any
) -> Finding:
    claim = Claim(section=SECTION, claim="A claim.", post=post, comparison=comparison)
    return judge_claim(name, claim, Measurement(ours, **more))


def claimed(name: str = "bandit.x", *, holds: bool = True, of_post: bool = True) -> Finding:
    claim = Claim(section=SECTION, claim="A claim.", criterion="It holds.", of_post=of_post)
    return judge_claim(name, claim, Measurement(1.0, holds=holds))


def outcome(part: str, *names: str, ours: float = 1.0) -> Outcome:
    findings = [compared(f"{part}.{name}", post="1", ours=ours) for name in names]
    return Outcome(findings, {SECTION: [(f"{part}.svg", "A figure.")]}, {SECTION: [f"A note of {part}."]})


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PARTS", ("bandit", "ipd"))


@pytest.mark.usefixtures("two_parts")
def test_parts_share_a_report_and_replace_only_their_own(tmp_path: Path) -> None:
    report.write(tmp_path, "ipd", INFO, outcome("ipd", "a"))
    report.write(tmp_path, "bandit", INFO, outcome("bandit", "a", "b"))
    report.write(tmp_path, "bandit", replace(INFO, seed=7), outcome("bandit", "b", "c"))
    findings, about = report.read(tmp_path)
    assert [one.id for one in findings if one.part != "other"] == ["bandit.b", "bandit.c", "ipd.a"]
    assert NOT_TESTABLE in {one.verdict for one in findings if one.part == "other"}
    assert {name: info.seed for name, info in about.items()} == {"bandit": 7, "ipd": 0}
    assert isinstance(json.loads((tmp_path / report.RESULTS).read_text()), list)
    text = (tmp_path / report.README).read_text()
    assert text == report.markdown(findings, about)
    for wanted in ("![A figure.](bandit.svg)", "![A figure.](ipd.svg)", "A note of ipd.", f"## {SECTION}"):
        assert text.count(wanted) == 1, wanted


@pytest.mark.usefixtures("two_parts")
def test_the_order_in_which_parts_are_run_changes_nothing(tmp_path: Path) -> None:
    for folder, parts in (("one", ("ipd", "bandit")), ("other", ("bandit", "ipd"))):
        (tmp_path / folder).mkdir()
        for part in parts:
            report.write(tmp_path / folder, part, INFO, outcome(part, "a"))
    for name in (report.RESULTS, report.ABOUT, report.README):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "other" / name).read_text()


def test_counts_name_every_verdict() -> None:
    both = [compared("bandit.a", post="1", ours=1.0), compared("bandit.b", post="1", ours=9.0)]
    assert report.counts(both) == {"bandit": {REPRODUCED: 1, NOT_REPRODUCED: 1, CONTRADICTS: 0, **UNDECIDED}}


def test_claims_that_we_add_are_counted_separately() -> None:
    three = [
        claimed("bandit.b", holds=False, of_post=False),
        compared("bandit.a", post="1", ours=1.0),
        claimed("ipd.c", of_post=False),
    ]
    counts = report.counts(three)
    assert list(counts) == ["bandit", report.ADDED]
    assert counts["bandit"] == {REPRODUCED: 1, NOT_REPRODUCED: 0, CONTRADICTS: 0, **UNDECIDED}
    assert counts[report.ADDED] == {REPRODUCED: 1, NOT_REPRODUCED: 1, CONTRADICTS: 0, **UNDECIDED}
    text = report.markdown(three, {})
    assert "| all of the post's | 1 | 0 | 0 | 0 | 0 | 0 |\n| added by us | 1 | 1 | 0 | 0 | 0 | 0 |" in text
    assert text.count("| (added by us) |") == 2


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (report.RESULTS, lambda data: data[0].update(more=1), "0.more: Unexpected keyword argument, got 1"),
        (report.RESULTS, lambda data: data[0].pop("criterion"), "0.criterion: Field required"),
        (report.RESULTS, lambda data: data[0].update(ours=math.nan), "is damaged: no valid JSON"),
        (report.RESULTS, lambda data: data[0].update(low="0"), "0.low: Input should be a valid number, got '0'"),
        (report.RESULTS, lambda data: data[0].update(low=2.0), "0: Value error, bandit.a: expected a band from low"),
        (report.RESULTS, lambda data: data.append(data[0]), "bandit.a is in it twice"),
        (report.RESULTS, lambda data: data.clear(), "results.json is damaged: it holds no claim"),
        (report.ABOUT, lambda data: data.clear(), "about.json is damaged: bandit is missing"),
        (report.RESULTS, lambda data: data.append(3), "Input should be an object, got 3"),
        (report.ABOUT, lambda data: data["bandit"].update(more=1), "bandit.more: Unexpected keyword argument"),
        (report.ABOUT, lambda data: data["bandit"].update(seed="0"), "bandit.seed: Input should be a valid integer"),
        (report.ABOUT, lambda data: data["bandit"].update(notes={"Elsewhere": []}), "bandit.notes.Elsewhere"),
        (report.ABOUT, lambda data: data["bandit"].update(figures={SECTION: [["a.svg"]]}), "figures.*Field required"),
    ],
)
def test_a_damaged_report_is_one_clear_line(
    tmp_path: Path, name: str, change: Callable[[Any], None], message: str
) -> None:
    report.write(tmp_path, "bandit", INFO, outcome("bandit", "a"))
    edit(tmp_path, name, change)
    with pytest.raises(AgentError, match=message) as raised:
        report.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_missing_or_foreign_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / report.RESULTS).write_text('{"about": {}, "runs": []}')
    with pytest.raises(AgentError, match="Input should be a valid array"):
        report.write(tmp_path, "bandit", INFO, outcome("bandit", "a"))
    (tmp_path / report.RESULTS).write_text("[]")
    with pytest.raises(AgentError, match=r"about.json is missing"):
        report.read(tmp_path)


def test_a_name_selects_one_part_or_all() -> None:
    assert reproduce.part_names("all") == list(reproduce.PARTS)
    assert reproduce.part_names("bandit") == ["bandit"]
    with pytest.raises(AgentError, match="did you mean 'bandit'"):
        reproduce.part_names("bandits")
    for name in reproduce.PARTS:
        assert callable(reproduce.load(name))


def test_the_committed_report_has_the_words_of_the_claims() -> None:
    """A report whose words differ was not made again after an edit of the claims."""
    findings, _ = report.read(ROOT / "docs" / "post")
    assert {one.id for one in findings if one.verdict == NOT_RUN and one.part != "other"} == {"bandit.footnote2.deeper"}
    for part in (*reproduce.PARTS, "other"):
        claims = load_claims(part)
        mine = [one for one in findings if one.part == part]
        assert [one.id for one in mine] == [f"{part}.{name}" for name in claims]
        for one, claim in zip(mine, claims.values(), strict=True):
            for text, words in (
                (one.claim, claim.claim),
                (one.criterion, claim.criterion or CRITERIA[claim.comparison]),
            ):
                pattern = re.sub(r"\\\$[a-z]+", r"\\S+", re.escape(words))
                assert re.match(pattern, text), one.id
            assert one.section == claim.section and one.of_post == claim.of_post
