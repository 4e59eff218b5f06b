"""Findings get the verdict that follows from their numbers; reports are read strictly, and parts share one."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol import AgentError
from experiments import reproduce
from experiments.reproduce import Outcome, finding, language_models, report
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
    judged,
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


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [(".73", 0.73, 0.01), ("27%", 0.27, 0.01), (".02%", 0.0002, 0.0001), ("−1.015", -1.015, 0.001), ("10,000", 1e4, 1)],
)
def test_numbers_are_parsed_as_the_post_prints_them(text: str, value: float, unit: float) -> None:
    assert finding.parse_printed(text) == pytest.approx((value, unit), rel=1e-12)


@given(st.floats(-100, 100), st.integers(0, 4))
def test_a_number_that_rounds_to_the_posts_reproduces_it(ours: float, digits: int) -> None:
    assert compared(post=f"{ours:.{digits}f}", ours=ours).verdict == REPRODUCED
    assert compared(post=f"{ours + 2 * 10**-digits:.{digits}f}", ours=ours).verdict == NOT_REPRODUCED


def test_numbers_that_are_not_rounded_must_be_equal() -> None:
    assert compared(post="1", ours=1.0, comparison="equal").verdict == REPRODUCED
    assert compared(post="1", ours=1.2, comparison="equal").verdict == NOT_REPRODUCED
    assert compared(post="1", ours=1.2).verdict == REPRODUCED


@pytest.mark.parametrize(
    ("post", "rule", "ours", "verdict"),
    [
        (".63", 0.6225, 0.6225, CONTRADICTS),
        (".62", 0.6225, 0.6225, REPRODUCED),  # the post does follow its rule
        (".63", 0.6225, 0.7, NOT_REPRODUCED),  # ours does not follow it
        (".63", 0.6225, 0.63, REPRODUCED),
    ],
)
def test_the_post_contradicts_itself_only_if_ours_follows_its_rule(
    post: str, rule: float, ours: float, verdict: str
) -> None:
    assert compared(post=post, ours=ours, comparison="rule", rule=rule).verdict == verdict


def test_the_band_of_a_probability_ends_at_0() -> None:
    assert compared(post=".02%", ours=1e-42, comparison="rule", rule=1e-42, floor=0.0).low == 0


@given(st.floats(-5, 5), st.floats(0, 3), st.floats(-9, 9))
def test_a_number_with_an_interval_is_judged_by_it(ours: float, half: float, post: float) -> None:
    low, high = ours - half, ours + half
    text = f"{post:.3f}"
    verdict = compared(post=text, ours=ours, comparison="interval", low=low, high=high).verdict
    assert (verdict == REPRODUCED) == (low <= float(text) <= high)


@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_is_judged_by_whether_it_holds(holds: bool) -> None:
    assert claimed(holds=holds).verdict == (REPRODUCED if holds else NOT_REPRODUCED)


def test_words_of_the_measurement_complete_the_claim() -> None:
    claim = Claim(section=SECTION, claim="Ours is 1 ($name is $other).", criterion="In $count bandits.")
    measurement = Measurement(1.0, 0.5, 1.5, holds=True, words={"name": "PPO's", "other": "2", "count": "20"})
    found = judge_claim("bandit.x", claim, measurement, band="Band: of seeds.")
    assert (found.claim, found.criterion) == ("Ours is 1 (PPO's is 2).", "In 20 bandits. Band: of seeds.")


def test_claims_without_a_measurement_are_not_run() -> None:
    assert {one.verdict for one in judged("bandit", {})} == {NOT_RUN}
    with pytest.raises(AssertionError, match="no claim for"):
        judged("bandit", {"unheard-of": Measurement(1.0, holds=True)})


@pytest.mark.parametrize("part", [*reproduce.PARTS, "other"])
def test_every_claim_has_one_way_to_be_judged(part: str) -> None:
    """Without a comparison a criterion, with one the post's number as printed; ids and numbers are legal."""
    claims = load_claims(part)
    assert len(judged(part, {})) == len(claims)
    for name, claim in claims.items():
        assert (claim.comparison is None) == bool(claim.criterion), name
        assert claim.comparison is None or isinstance(claim.post, str), name


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
        replace(compared(post="1", ours=1.0), **change)


def test_a_finding_comes_back_from_json(tmp_path: Path) -> None:
    findings = [compared(post="1.5", ours=1.52), claimed("bandit.a", of_post=False)]
    written = report.write(tmp_path, "bandit", INFO, Outcome(findings))
    assert report.read(tmp_path)[0] == written == [*findings, *judged("other", language_models.measurements())]


def test_a_finding_of_an_older_report_is_the_posts(tmp_path: Path) -> None:
    report.write(tmp_path, "bandit", INFO, outcome("bandit", "a"))
    edit(tmp_path, report.RESULTS, lambda data: data[0].pop("of_post"))
    assert report.read(tmp_path)[0][0].of_post


def outcome(part: str, *names: str, ours: float = 1.0) -> Outcome:
    findings = [compared(f"{part}.{name}", post="1", ours=ours) for name in names]
    return Outcome(findings, {SECTION: [(f"{part}.svg", "A figure.")]}, {SECTION: [f"A note of {part}."]})


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PARTS", {"bandit": "", "ipd": ""})


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
