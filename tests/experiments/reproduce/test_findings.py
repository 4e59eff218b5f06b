"""Findings: how a number or a claim is judged, shown and read back."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import reproduce
from experiments.reproduce import Outcome, finding, language_models, report
from experiments.reproduce.finding import (
    CONTRADICTS,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    Claim,
    Measurement,
    judge_claim,
    judge_claims,
    load_claims,
)
from tests.experiments.reproduce.test_report import INFO, SECTION, claimed, compared, edit, outcome


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
    assert {one.verdict for one in judge_claims("bandit", {})} == {NOT_RUN}
    with pytest.raises(AssertionError, match="no claim for"):
        judge_claims("bandit", {"unheard-of": Measurement(1.0, holds=True)})


@pytest.mark.parametrize("part", [*reproduce.PARTS, "other"])
def test_every_claim_has_one_way_to_be_judged(part: str) -> None:
    """A claim has either a criterion, or a comparison with the post's number as printed."""
    claims = load_claims(part)
    assert len(judge_claims(part, {})) == len(claims)
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
    assert report.read(tmp_path)[0] == written == [*findings, *judge_claims("other", language_models.measurements())]


def test_a_finding_of_an_older_report_is_the_posts(tmp_path: Path) -> None:
    report.write(tmp_path, "bandit", INFO, outcome("bandit", "a"))
    edit(tmp_path, report.RESULTS, lambda data: data[0].pop("of_post"))
    assert report.read(tmp_path)[0][0].of_post


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
    assert report.format_value(value) == text
