"""Findings get the verdict that their numbers ask for; reports are read strictly, and parts share one."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol import AgentError
from experiments import reproduce
from experiments.reproduce import Outcome, finding, other, report
from experiments.reproduce.finding import CONTRADICTS, NOT_REPRODUCED, NOT_RUN, REPRODUCED, SECTIONS, Finding

SECTION = SECTIONS[1]
MADE = report.Made(command="python cli.py reproduce", seed=0, quick=True, seconds=1.5, versions={"python": "3"})


def exact(name: str = "bandit.x", **settings: Any) -> Finding:
    return finding.exact(name, "A claim.", section=SECTION, **settings)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [(".73", 0.73, 0.01), ("27%", 0.27, 0.01), (".02%", 0.0002, 0.0001), ("−1.015", -1.015, 0.001), ("10,000", 1e4, 1)],
)
def test_numbers_are_read_as_the_post_prints_them(text: str, value: float, unit: float) -> None:
    assert finding.printed(text) == pytest.approx((value, unit), rel=1e-12)


@given(st.floats(-100, 100), st.integers(0, 4))
def test_what_prints_as_the_posts_number_reproduces_it(ours: float, digits: int) -> None:
    found = exact(post=f"{ours:.{digits}f}", ours=ours)
    assert found.verdict == REPRODUCED
    off = exact(post=f"{ours + 2 * 10**-digits:.{digits}f}", ours=ours)
    assert off.verdict == NOT_REPRODUCED


def test_numbers_that_are_not_rounded_must_be_equal() -> None:
    assert exact(post="1", ours=1.0, rounded=False).verdict == REPRODUCED
    assert exact(post="1", ours=1.2, rounded=False).verdict == NOT_REPRODUCED
    assert exact(post="1", ours=1.2).verdict == REPRODUCED


@pytest.mark.parametrize(
    ("post", "rule", "ours", "verdict"),
    [
        (".63", 0.6225, 0.6225, CONTRADICTS),
        (".62", 0.6225, 0.6225, REPRODUCED),  # the post does follow its rule
        (".63", 0.6225, 0.7, NOT_REPRODUCED),  # ours does not follow it
        (".63", 0.6225, 0.63, REPRODUCED),
    ],
)
def test_a_contradiction_must_be_one(post: str, rule: float, ours: float, verdict: str) -> None:
    found = finding.contradiction("bandit.x", "A claim.", section=SECTION, post=post, rule=rule, ours=ours)
    assert found.verdict == verdict


@given(st.floats(-5, 5), st.floats(0, 3), st.floats(-9, 9))
def test_a_measured_number_is_judged_by_its_interval(ours: float, half: float, post: float) -> None:
    low, high = ours - half, ours + half
    text = f"{post:.3f}"
    found = finding.measured("bandit.x", "A claim.", section=SECTION, post=text, ours=ours, low=low, high=high)
    assert (found.verdict == REPRODUCED) == (low <= float(text) <= high)


@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_is_judged_by_whether_it_holds(holds: bool) -> None:
    found = finding.claim("bandit.x", "A claim.", section=SECTION, ours=3, holds=holds, criterion="It holds.")
    assert found.verdict == (REPRODUCED if holds else NOT_REPRODUCED)


@pytest.mark.parametrize(
    "change",
    [
        {"ours": math.nan},
        {"low": math.inf},
        {"post": math.nan},
        {"verdict": "maybe"},
        {"section": "Elsewhere"},
        {"id": "nopart"},
        {"claim": ""},
        {"low": 2.0},
        {"ours": None},
        {"low": True},
        {"of_post": False},  # and yet a number of the post
        {"of_post": 1},
    ],
)
def test_illegal_findings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(exact(post="1", ours=1.0), **change)


def added(name: str, *, holds: bool = True) -> Finding:
    return finding.claim(name, "Ours.", section=SECTION, ours=1.0, holds=holds, criterion="It holds.", of_post=False)


def test_a_finding_comes_back_from_json() -> None:
    for found in (exact(post="1.5", ours=1.52), added("bandit.a"), *other.findings()):
        assert Finding.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_finding_of_an_older_report_is_the_posts() -> None:
    old = exact(post="1.5", ours=1.52).to_json()
    del old["of_post"]
    assert Finding.from_json(old).of_post


def outcome(part: str, *names: str, ours: float = 1.0) -> Outcome:
    found = [exact(f"{part}.{name}", post="1", ours=ours) for name in names]
    return Outcome(found, {SECTION: [(f"{part}.svg", "A figure.")]}, {SECTION: [f"A note of {part}."]})


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PARTS", {"bandit": "", "ipd": ""})


@pytest.mark.usefixtures("two_parts")
def test_parts_share_a_report_and_replace_only_their_own(tmp_path: Path) -> None:
    report.write(tmp_path, "ipd", MADE, outcome("ipd", "a"))
    report.write(tmp_path, "bandit", MADE, outcome("bandit", "a", "b"))
    report.write(tmp_path, "bandit", replace(MADE, seed=7), outcome("bandit", "b", "c"))
    found, about = report.read(tmp_path)
    assert [f.id for f in found if f.part != "other"] == ["bandit.b", "bandit.c", "ipd.a"]
    assert {f.verdict for f in found if f.part == "other"} == {NOT_RUN}
    assert {name: made.seed for name, made in about.items()} == {"bandit": 7, "ipd": 0}
    assert isinstance(json.loads((tmp_path / report.RESULTS).read_text()), list)
    text = (tmp_path / report.README).read_text()
    assert text == report.markdown(found, about)
    for wanted in ("![A figure.](bandit.svg)", "![A figure.](ipd.svg)", "A note of ipd.", f"## {SECTION}"):
        assert text.count(wanted) == 1, wanted


@pytest.mark.usefixtures("two_parts")
def test_the_order_in_which_parts_are_run_changes_nothing(tmp_path: Path) -> None:
    for folder, parts in (("one", ("ipd", "bandit")), ("other", ("bandit", "ipd"))):
        (tmp_path / folder).mkdir()
        for part in parts:
            report.write(tmp_path / folder, part, MADE, outcome(part, "a"))
    for name in (report.RESULTS, report.ABOUT, report.README):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "other" / name).read_text()


def test_counts_name_every_verdict() -> None:
    both = [exact("bandit.a", post="1", ours=1.0), exact("bandit.b", post="1", ours=9.0)]
    assert report.counts(both) == {"bandit": {REPRODUCED: 1, NOT_REPRODUCED: 1, CONTRADICTS: 0, NOT_RUN: 0}}


def test_what_we_add_is_counted_apart() -> None:
    three = [added("bandit.b", holds=False), exact("bandit.a", post="1", ours=1.0), added("ipd.c")]
    found = report.counts(three)
    assert list(found) == ["bandit", report.ADDED]
    assert found["bandit"] == {REPRODUCED: 1, NOT_REPRODUCED: 0, CONTRADICTS: 0, NOT_RUN: 0}
    assert found[report.ADDED] == {REPRODUCED: 1, NOT_REPRODUCED: 1, CONTRADICTS: 0, NOT_RUN: 0}
    text = report.markdown(three, {})
    assert "| all of the post's | 1 | 0 | 0 | 0 |\n| added by us | 1 | 1 | 0 | 0 |" in text
    assert text.count("| (added by us) |") == 2
    assert finding.unjudged(three[0]).of_post is False


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (report.RESULTS, lambda data: data[0].update(more=1), "expected a finding with the keys"),
        (report.RESULTS, lambda data: data[0].pop("criterion"), "expected a finding with the keys"),
        (report.RESULTS, lambda data: data[0].update(ours=math.nan), "NaN is no number"),
        (report.RESULTS, lambda data: data[0].update(low="0"), "low must be a finite number"),
        (report.RESULTS, lambda data: data.append(data[0]), "twice"),
        (report.RESULTS, lambda data: data.append(3), "expected a finding"),
        (report.ABOUT, lambda data: data["bandit"].update(more=1), "expected the keys"),
        (report.ABOUT, lambda data: data["bandit"].update(seed="0"), "seed is not a int"),
        (report.ABOUT, lambda data: data["bandit"].update(notes={"Elsewhere": []}), "unknown section"),
    ],
)
def test_a_damaged_report_is_one_clear_line(
    tmp_path: Path, name: str, change: Callable[[Any], None], said: str
) -> None:
    report.write(tmp_path, "bandit", MADE, outcome("bandit", "a"))
    edit(tmp_path, name, change)
    with pytest.raises(AgentError, match=said) as raised:
        report.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_missing_or_foreign_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / report.RESULTS).write_text('{"about": {}, "runs": []}')
    with pytest.raises(AgentError, match="expected a list"):
        report.write(tmp_path, "bandit", MADE, outcome("bandit", "a"))
    (tmp_path / report.RESULTS).write_text("[]")
    with pytest.raises(AgentError, match=r"about.json is missing"):
        report.read(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        ("never", "never"),
        (0.6225, "0.6225"),
        (8.28e-42, "8.28e-42"),
        (0.0002, "0.0002"),
        (26000.0, "26,000"),
        (0, "0"),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_with_four_digits(value: finding.Value, text: str) -> None:
    assert report.show(value) == text


def test_names_of_parts() -> None:
    assert reproduce.chosen("all") == list(reproduce.PARTS)
    assert reproduce.chosen("bandit") == ["bandit"]
    with pytest.raises(AgentError, match="did you mean 'bandit'"):
        reproduce.chosen("bandits")
    for name in reproduce.PARTS:
        assert callable(reproduce.load(name))
