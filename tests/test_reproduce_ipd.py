"""The prisoner's dilemma's parts of the report: the matrix, statistics, verdicts on made-up trials, the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.dilemma.runs import Arm
from experiments.dilemma.trial import COLUMNS, EPOCHS
from experiments.reproduce import report
from experiments.reproduce.finding import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Finding
from experiments.reproduce.ipd import actde, matrix, ppo, statistics
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, IPD, LONG, MIDDLE, OTHER_MATRICES, SHORT, Series
from experiments.reproduce.sensitivity import ablations, factors
from games.ipd import PAYOFFS
from tests.test_cli import answer, cli


def series(arm: Arm, share: object, *, trials: int = 5, noise: float = 0.0, entropy: float = 0.5) -> Series:
    """Made-up trials: `share` of alternating games is a number or [rollouts]; the rest in equal parts."""
    rows = np.zeros((trials, arm.rollouts, len(COLUMNS)))
    rng = np.random.default_rng(sum(map(ord, arm.name)))
    curve = np.broadcast_to(np.asarray(share, float), (arm.rollouts,))
    level = np.clip(curve + noise * rng.normal(size=(trials, 1)), 0, 1)
    rows[:, :, 0] = level
    rows[:, :, 1] = rows[:, :, 2] = (1 - level) / 2
    rows[:, :, COLUMNS.index("entropy")] = entropy
    return Series(arm=arm, rows=rows, seconds=1.0)


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.id: finding.verdict for finding in findings}


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_returns_are_the_values_of_plans(payoff: str) -> None:
    """What 128 games sum up to is what the equations of each plan give for ever."""
    plans = {"alternate": (1, 0), "cooperate": (0, 0), "defect": (1, 1)}
    found = matrix.mean_returns(payoff)
    for name, plan in plans.items():
        assert found[name] == pytest.approx(matrix._values(PAYOFFS[payoff], 0.5, plan).mean(), abs=1e-9)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_at_a_threshold_both_plans_are_worth_the_same(payoff: str) -> None:
    for past, gamma in enumerate(matrix.thresholds(PAYOFFS[payoff])):
        together, apart = (matrix._values(PAYOFFS[payoff], gamma, plan)[past] for plan in ((0, 0), (1, 1)))
        assert together == pytest.approx(apart, abs=1e-9)


def test_the_matrix_is_reproduced() -> None:
    findings = matrix.findings(np.random.default_rng(0))
    assert len(findings) == 22
    assert set(verdicts(findings).values()) == {REPRODUCED}


def test_intervals_hold_repetitions() -> None:
    """Of 4,000 pairs of experiments with ten trials, the second lies in the first's interval 95% of the time."""
    rng = np.random.default_rng(1)
    inside = np.zeros(3)
    for _ in range(4000):
        first, second = rng.normal(size=10), rng.normal(size=10)
        mean, spread = statistics.next_mean(first, 10), statistics.next_deviation(first, 10)
        middle = statistics.mean_band(first)
        inside += [
            mean["low"] <= second.mean() <= mean["high"],
            spread["low"] <= second.std(ddof=1) <= spread["high"],
            middle["low"] <= 0 <= middle["high"],
        ]
    np.testing.assert_allclose(inside / 4000, 0.95, atol=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_one_trial_has_no_interval() -> None:
    band = statistics.mean_band(np.array([0.3]))
    assert band == {"ours": 0.3, "low": 0.3, "high": 0.3}


def _ppo(curve: object, **more: Series) -> dict[str, str]:
    arms = {arm.name: series(arm, curve, noise=0.001) for arm in IPD if arm.name.startswith("ppo")}
    return verdicts(ppo.findings(arms | more))


def test_verdicts_on_ppo() -> None:
    rising = np.minimum(1, 0.5 + np.arange(SHORT // EPOCHS) / 50)
    assert set(_ppo(rising).values()) == {REPRODUCED}
    slow = np.linspace(0.5, 0.8, SHORT // EPOCHS)
    found = _ppo(slow)
    assert found["ipd.ppo.learns"] == found["ipd.ppo.collapses"] == NOT_REPRODUCED
    white = next(arm for arm in IPD if arm.name == "ppo-whitened")
    found = _ppo(rising, **{"ppo-whitened": series(white, 0.5)})
    assert found["ipd.ppo.whitened"] == NOT_REPRODUCED and found["ipd.ppo.detached"] == REPRODUCED
    found = _ppo(rising, **{"ppo-whitened": series(white, 0.5, trials=0)})
    assert found["ipd.ppo.whitened"] == NOT_RUN


def _actde(curve: object, noise: float, **more: Series) -> dict[str, str]:
    arms = {
        "actde": series(ACTDE, curve, trials=10, noise=noise, entropy=0.5),
        "ppo": series(next(arm for arm in IPD if arm.name == "ppo"), 1.0, entropy=0.1),
    }
    arms |= {arm.name: series(arm, 0.5, noise=0.01) for arm in OTHER_MATRICES}
    return verdicts(actde.findings(arms | more))


def test_verdicts_on_actde() -> None:
    time = np.linspace(0, 1, ACTDE.rollouts)
    falling = np.interp(time, [0, 0.02, 0.4, 1], [0.5, 0.95, 0.74, 0.68])
    found = _actde(falling, 0.1)
    assert {name for name, verdict in found.items() if verdict != REPRODUCED} <= {
        "ipd.actde.to-uniform",
        "ipd.actde.deviation-4000",
        "ipd.actde.slow",
        "ipd.actde.alternates-first",
    }
    to_uniform = np.interp(time, [0, 0.02, 0.4, 1], [0.5, 0.95, 0.74, 0.5])
    found = _actde(to_uniform, 0.01)
    assert found["ipd.actde.to-uniform"] == found["ipd.actde.slow"] == REPRODUCED
    assert found["ipd.actde.inconsistent"] == found["ipd.actde.mean-10000"] == NOT_REPRODUCED
    staying = _actde(np.full(ACTDE.rollouts, 0.97), 0.001)
    assert staying["ipd.actde.regresses"] == staying["ipd.actde.closer-to-uniform"] == NOT_REPRODUCED
    softmax = matrix.softmax_shares("temptation-1")["alternate"]
    other = _actde(falling, 0.1, **{"actde-temptation-1": series(OTHER_MATRICES[0], softmax, noise=0.001)})
    assert found["ipd.actde.temptation-1"] == REPRODUCED and other["ipd.actde.temptation-1"] == NOT_REPRODUCED


def test_too_few_or_too_short_trials_are_not_run() -> None:
    for arms in (
        {arm.name: series(arm, 0.5, trials=1) for arm in IPD},
        {arm.name: series(Arm(name=arm.name, recipe=arm.recipe, trials=2, steps=40), 0.5, trials=2) for arm in IPD},
    ):
        found = verdicts([*ppo.findings(arms), *actde.findings(arms)])
        judged = {name for name, verdict in found.items() if verdict != NOT_RUN}
        assert judged <= {"ipd.actde.trial-225"}


def test_factors_find_the_effect_that_was_put_in() -> None:
    """Whitening takes .2, nothing else does anything."""
    cells = {arm.name: series(arm, 0.7 - 0.2 * ("whitened" in arm.name), noise=0.01) for arm in GRID}
    found = cells | {"actde": series(ACTDE, 0.7, trials=10, noise=0.01)}
    assert len(GRID) == 7
    assert factors.effect(found, "whitened").mean() == pytest.approx(-0.2, abs=0.03)
    made = verdicts(factors.findings(found))
    assert made["sensitivity.whitened"] == made["sensitivity.cells"] == made["sensitivity.no-collapse"] == REPRODUCED
    pure = found | {GRID[-1].name: series(GRID[-1], 0.02, entropy=0.05)}
    assert verdicts(factors.findings(pure))["sensitivity.no-collapse"] == NOT_REPRODUCED
    table = factors.notes(found)[1].splitlines()
    assert len(table) == 2 + 8 and "| batch | detached | ilql | 5 |" in table[-1]
    missing = found | {GRID[0].name: series(GRID[0], 0.7, trials=0)}
    assert set(verdicts(factors.findings(missing)).values()) == {NOT_RUN}
    assert len(factors.notes(missing)[1].splitlines()) == 2 + 7


def test_every_cell_has_its_recipe() -> None:
    assert {factors.cell(*words) for words in factors._all()} == {"actde", *(arm.name for arm in GRID)}
    for arm in GRID:
        recipe = arm.recipe
        named = (recipe.whitening == "batch", recipe.detach_heads, recipe.value_loss == "ilql")
        assert named == ("whitened" in arm.name, "detached" in arm.name, "ilql" in arm.name)
        assert arm.steps == MIDDLE and arm.trials >= 5


def test_ablations_tell_the_recipe_from_the_rule() -> None:
    time = np.linspace(0, 1, ACTDE.rollouts)
    falling, staying = np.interp(time, [0, 0.02, 1], [0.5, 0.95, 0.6]), np.interp(time, [0, 0.02, 1], [0.5, 0.95, 0.95])
    found = {arm.name: series(arm, falling, noise=0.01) for arm in ABLATIONS}
    found["actde"] = series(ACTDE, falling, trials=10, noise=0.01)
    found["actde-no-decay"] = series(ABLATIONS[0], staying, noise=0.001)
    made = verdicts(ablations.findings(found))
    assert made["sensitivity.drift.no-decay"] == NOT_REPRODUCED
    assert made["sensitivity.recipe.no-decay"] == made["sensitivity.drift.no-dropout"] == REPRODUCED
    words = ablations.notes(found)[-1]
    assert "the loss is smaller without weight decay" in words and "none is seen without weight decay" in words
    assert set(ablations.WHAT) == {arm.name for arm in ABLATIONS}
    for arm in ABLATIONS:
        assert arm.steps == LONG and arm.recipe != ACTDE.recipe


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quick reports of both parts, in one folder."""
    place = tmp_path_factory.mktemp("quick")
    for part in ("ipd", "sensitivity"):
        answer("reproduce", part, "--out", str(place), "--quick", "--seed", "3")
    return place


def test_the_quick_report_comes_out_of_the_command(quick: Path) -> None:
    results = json.loads((quick / report.RESULTS).read_text())
    keys = {"id", "claim", "post", "ours", "low", "high", "verdict"}
    assert all(keys <= set(found) for found in results)
    findings, about = report.read(quick)
    assert {"ipd", "sensitivity", "other"} == {finding.part for finding in findings}
    assert about["ipd"].quick and about["ipd"].seed == 3
    made = verdicts(findings)
    assert made["ipd.return-cdcd"] == REPRODUCED and made["ipd.actde.mean-10000"] == NOT_RUN
    for figures in (figures for one in about.values() for figures in one.figures.values()):
        for name, _ in figures:
            assert "<svg" in (quick / name).read_text()[:500], name


def test_nothing_is_run_twice(quick: Path) -> None:
    """With its trials on record, a report is made again without running any, and is the same."""
    before = (quick / report.RESULTS).read_bytes()
    for path in sorted((quick / "runs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    answer("reproduce", "ipd", "--out", str(quick), "--quick", "--seed", "3", "--workers", "0")
    assert (quick / report.RESULTS).read_bytes() == before
    done = cli("reproduce", "ipd", "--out", str(quick), "--quick", "--seed", "4")
    assert done.returncode == 2 and "choose another folder" in done.stderr and "Traceback" not in done.stderr
