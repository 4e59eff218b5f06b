"""Verdicts on claims about language models: which results decide them, and when they stay open."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.reproduce import language_models
from experiments.reproduce.finding import (
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_TESTABLE,
    OPEN,
    REPRODUCED,
    Verdict,
    judge_claims,
    load_claims,
)
from experiments.rlhf.confirmation_contrasts import PAIRS, SEEDS

EXACT = json.loads((language_models.RESULTS / "exact.json").read_text())
CELLS = sorted({cell for pair in PAIRS for cell in pair})


def verdicts(folder: Path, exact: dict[str, Any], runs: list[dict[str, Any]] | None = None) -> dict[str, Verdict]:
    (folder / "exact.json").write_text(json.dumps(exact))
    if runs is not None:
        about = {"seeds": SEEDS, "cells": {cell: {} for cell in CELLS}}
        (folder / "confirmation.json").write_text(json.dumps({"about": about, "runs": runs}))
    found = judge_claims("other", language_models.measurements(folder))
    return {finding.id.removeprefix("other."): finding.verdict for finding in found}


def run(cell: str, seed: int, gain: float) -> dict[str, Any]:
    """Return a run whose entropy and true reward end at `gain`, and whose KL ends at 5 - `gain`, up to noise."""
    end = gain + 0.1 * ((seed * (7 + len(cell))) % 11)
    last = {"reward": 1.0, "kl": 5.0 - end, "entropy": end, "true_reward": end, "distinct_2": 0.5 + end / 100}
    return {"cell": cell, "seed": seed, "probes": [dict.fromkeys(last, 0.0), last]}


def test_the_committed_results_decide_the_claims_about_closed_answers(tmp_path: Path) -> None:
    found = verdicts(tmp_path, EXACT)
    assert found["reward-events"] == found["easy-reward"] == REPRODUCED
    assert found["reward-logits"] == NOT_REPRODUCED
    assert found["diverse-events"] == OPEN


def test_a_result_that_is_not_significant_changes_the_verdict(tmp_path: Path) -> None:
    weak = json.loads(json.dumps(EXACT))
    for contrast in weak["contrasts"]:
        contrast["p_holm"] = 0.06
    for cell in weak["cells"]:
        if cell["method"] == "actde-sgd":
            cell["distance"] |= {"low": 0.05, "high": 0.15}
            if cell["task"] == "barn":
                cell["many"] |= {"low": -2.0, "high": -1.0}
        if (cell["task"], cell["method"]) == ("barn", "actde"):
            cell["many"] |= {"low": -2.0, "high": -1.0}
    found = verdicts(tmp_path, weak)
    assert found["diverse-events"] == NOT_REPRODUCED
    assert found["reward-events"] == found["reward-logits"] == OPEN


@pytest.mark.parametrize(
    ("turned", "verdict"), [((), REPRODUCED), (("actde",), OPEN), (("actde", "actde-sgd"), NOT_REPRODUCED)]
)
def test_late_reinforcement_is_decided_if_both_contrasts_agree(
    turned: tuple[str, ...], verdict: Verdict, tmp_path: Path
) -> None:
    exact = json.loads(json.dumps(EXACT))
    for contrast in exact["contrasts"]:
        if contrast["first"] in turned:
            contrast["difference"]["value"] *= -1
    assert verdicts(tmp_path, exact)["reward-events"] == verdict


@pytest.mark.parametrize(("gain", "verdict"), [(2.0, REPRODUCED), (0.0, OPEN), (-2.0, NOT_REPRODUCED)])
def test_the_confirmation_decides_the_claims_about_free_text(tmp_path: Path, gain: float, verdict: Verdict) -> None:
    runs = [run(cell, seed, 2 + gain * (cell == "actde")) for cell in CELLS for seed in SEEDS]
    found = verdicts(tmp_path, EXACT, runs)
    assert {found[name] for name in ("kl-penalty", "variety", "misspecification")} == {verdict}
    assert verdicts(tmp_path, EXACT, runs[1:])["variety"] == NOT_RUN


def test_claims_that_need_other_machines_are_not_testable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, EXACT)
    untestable = {name for name, claim in load_claims("other").items() if not claim.testable}
    assert untestable == {name for name, verdict in found.items() if verdict == NOT_TESTABLE}
    assert {"shards", "neox"} <= untestable


@pytest.mark.parametrize(
    ("won", "verdict"), [((0.0, 0.05), REPRODUCED), ((0.0, 0.9), OPEN), ((0.85, 0.95), NOT_REPRODUCED)]
)
def test_the_worst_seed_decides_whether_the_fault_of_footnote_8_prevents_learning(
    won: tuple[float, ...], verdict: Verdict, tmp_path: Path
) -> None:
    runs = [{"optimizer": language_models.FAULTY, "curves": {"recent_success": [0.0, last]}} for last in won]
    runs.append({"optimizer": "ppo", "curves": {"recent_success": [0.4]}})
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"runs": runs}))
    found = judge_claims("other", language_models.measurements(footnote_8=file))
    assert {finding.verdict for finding in found if finding.id == "other.one-of-eight"} == {verdict}
