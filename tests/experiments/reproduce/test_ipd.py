"""The prisoner's dilemma in the report: the matrix, statistics, verdicts on synthetic trials, the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduce import report, statistics
from experiments.reproduce.finding import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Finding, Measurement, judge_claims
from experiments.reproduce.ipd import findings, payoff_matrix
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, CELLS, GRID, IPD, LONG, MIDDLE, OTHER_MATRICES, PPO, Series
from experiments.reproduce.ipd_trials.run_trials import Arm
from experiments.reproduce.ipd_trials.trial import COLUMNS, EPOCHS
from experiments.reproduce.sensitivity import findings as sensitivity
from games.ipd import PAYOFFS
from tests.helpers.command_line import answer, cli


def series(
    arm: Arm, share: object, *, trials: int = 5, noise: float = 0.0, entropy: float = 0.5, games: int = 6400
) -> Series:
    """Return synthetic trials. A share of their games alternates. Half of the others cooperate, and half defect.

    `share` is a number or [rollouts]. `noise` is its deviation between trials. It is counted over `games` games.
    """
    rows = np.zeros((trials, arm.rollouts, len(COLUMNS)))
    rng = np.random.default_rng(sum(map(ord, arm.name)))
    curve = np.broadcast_to(np.asarray(share, float), (arm.rollouts,))
    level = rng.binomial(games, np.clip(curve + noise * rng.normal(size=(trials, 1)), 0, 1)) / games
    rows[:, :, 0] = level
    rows[:, :, 1] = rows[:, :, 2] = (1 - level) / 2
    rows[:, :, COLUMNS.index("entropy")] = entropy
    return Series(arm, rows, seconds=1.0)


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.id: finding.verdict for finding in findings}


def judge(prefix: str, measurements: dict[str, Measurement]) -> dict[str, str]:
    """Return the verdicts, by id, of the claims whose ids begin with the prefix, such as "ipd.ppo."."""
    findings = judge_claims(prefix.partition(".")[0], measurements)
    return {name: verdict for name, verdict in verdicts(findings).items() if name.startswith(prefix)}


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_returns_equal_the_values_of_plans(payoff: str) -> None:
    """Each strategy's mean discounted return equals the one from the linear equations for its values."""
    plans = {"alternate": (1, 0), "cooperate": (0, 0), "defect": (1, 1)}
    found = payoff_matrix.mean_returns(payoff)
    for name, plan in plans.items():
        assert found[name] == pytest.approx(payoff_matrix.plan_values(PAYOFFS[payoff], 0.5, plan).mean(), abs=1e-9)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_at_a_threshold_both_plans_have_the_same_value(payoff: str) -> None:
    for past, gamma in enumerate(payoff_matrix.thresholds(PAYOFFS[payoff])):
        together, apart = (payoff_matrix.plan_values(PAYOFFS[payoff], gamma, plan)[past] for plan in ((0, 0), (1, 1)))
        assert together == pytest.approx(apart, abs=1e-9)


def test_the_matrix_is_reproduced() -> None:
    measurements = payoff_matrix.measure(np.random.default_rng(0))
    assert len(measurements) == 22
    assert [one.verdict for one in judge_claims("ipd", measurements)].count(REPRODUCED) == 22


def test_intervals_contain_repetitions() -> None:
    """An interval from ten trials contains the result of ten further trials in 95% of 4,000 pairs of experiments."""
    rng = np.random.default_rng(1)
    inside = np.zeros(3)
    for _ in range(4000):
        first, second = rng.normal(size=10), rng.normal(size=10)
        mean, spread = statistics.next_mean(first, 10), statistics.next_deviation(first, 10)
        middle = statistics.over_trials(first)
        inside += [
            mean["low"] <= second.mean() <= mean["high"],
            spread["low"] <= second.std(ddof=1) <= spread["high"],
            middle["low"] <= 0 <= middle["high"],
        ]
    np.testing.assert_allclose(inside / 4000, 0.95, atol=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_one_trial_has_no_interval() -> None:
    band = statistics.over_trials(np.array([0.3]))
    assert band == {"ours": 0.3, "low": 0.3, "high": 0.3}


RISING = np.minimum(1, 0.5 + np.arange(LONG // EPOCHS) / 50)


def _ppo(curve: np.ndarray, **more: Series) -> dict[str, str]:
    purer = np.maximum(0.001, 0.6 - np.arange(LONG // EPOCHS) / 400)
    arms = {arm.name: series(arm, curve[: arm.rollouts], noise=0.001) for arm in IPD if arm.name.startswith("ppo")}
    arms["ppo"].rows[:, :, COLUMNS.index("entropy")] = purer
    return judge("ipd.ppo.", findings.measure_ppo(arms | more))


def test_verdicts_on_ppo() -> None:
    assert set(_ppo(RISING).values()) == {REPRODUCED}
    slow = np.linspace(0.5, 0.8, LONG // EPOCHS)
    found = _ppo(slow)
    assert found["ipd.ppo.learns"] == found["ipd.ppo.collapses"] == found["ipd.ppo.stays"] == NOT_REPRODUCED
    white = next(arm for arm in IPD if arm.name == "ppo-whitened")
    late = np.minimum(1, 0.5 + np.maximum(0, np.arange(white.rollouts) - 20) / 50)
    found = _ppo(RISING, **{"ppo-whitened": series(white, late)})
    assert found["ipd.ppo.whitened"] == NOT_REPRODUCED and found["ipd.ppo.detached"] == REPRODUCED
    found = _ppo(RISING, **{"ppo-whitened": series(white, 0.5, trials=0)})
    assert found["ipd.ppo.whitened"] == NOT_RUN


def _actde(curve: object, noise: float, **more: Series) -> dict[str, str]:
    arms = {"actde": series(ACTDE, curve, trials=10, noise=noise, entropy=0.5)}
    arms["ppo"] = series(PPO, RISING, entropy=0.01)
    arms |= {arm.name: series(arm, 0.5, noise=0.01) for arm in OTHER_MATRICES}
    arms |= more
    arms["ppo"].rows[:, :, COLUMNS.index("advantage_abs")] = 1.0
    return judge("ipd.actde.", findings.measure_actde(arms))


def test_verdicts_on_actde() -> None:
    time = np.linspace(0, 1, ACTDE.rollouts)
    found = _actde(np.interp(time, [0, 0.02, 0.4, 1], [0.5, 0.95, 0.74, 0.6]), 0.01)
    odd = ("inconsistent", "mean-10000", "deviation-4000", "deviation-10000", "mean-peak", "trial-225")
    assert {name for name, verdict in found.items() if verdict == NOT_REPRODUCED} <= {f"ipd.actde.{o}" for o in odd}
    assert found["ipd.actde.inconsistent"] == found["ipd.actde.mean-10000"] == NOT_REPRODUCED
    wide = _actde(np.interp(time, [0, 0.02, 0.4, 1], [0.5, 0.92, 0.74, 0.68]), 0.12)
    for name in ("mean-4000", "mean-10000", "mean-peak", "trial-225", "inconsistent"):
        assert wide[f"ipd.actde.{name}"] == REPRODUCED, name


def test_a_policy_that_does_not_move_does_not_regress() -> None:
    """The share is counted over few games, so its maximum lies well above its end in every trial."""
    for seed_of_noise in range(5):
        arm = Arm(name=f"{ACTDE.name}{'x' * seed_of_noise}", recipe=ACTDE.recipe, trials=10, steps=LONG)
        still = series(arm, 0.9, trials=10, noise=0.02, games=200)
        found = _actde(0.9, 0.02, actde=still)
        for name in ("regresses", "closer-to-uniform", "slow", "to-uniform"):
            assert found[f"ipd.actde.{name}"] == NOT_REPRODUCED, name
        assert abs(sensitivity.drift(still).mean()) < 0.01


def test_the_other_matrix_may_be_any_of_three() -> None:
    lines = {arm.name: payoff_matrix.softmax_shares(str(arm.recipe.payoff)) for arm in OTHER_MATRICES}
    to_softmax = {arm.name: series(arm, lines[arm.name]["alternate"], noise=0.001) for arm in OTHER_MATRICES}
    for one in to_softmax.values():
        for column, name in enumerate(("alternate", "cooperate", "defect")):
            one.rows[:, :, column] = lines[one.arm.name][name]
    assert _actde(0.9, 0.01, **to_softmax)["ipd.actde.other-matrix"] == NOT_REPRODUCED
    uniform = to_softmax | {OTHER_MATRICES[0].name: series(OTHER_MATRICES[0], 0.5)}
    assert _actde(0.9, 0.01, **uniform)["ipd.actde.other-matrix"] == REPRODUCED
    table = findings.matrix_notes(to_softmax)[0].splitlines()
    assert len(table) == 2 + len(OTHER_MATRICES) and "| repeat |" in table[2] and table[2].endswith("| 0 of 5 |")


def test_too_few_or_too_short_trials_are_not_measured() -> None:
    for arms in (
        {arm.name: series(arm, 0.5, trials=1) for arm in IPD},
        {arm.name: series(Arm(name=arm.name, recipe=arm.recipe, trials=2, steps=200), 0.5, trials=2) for arm in IPD},
    ):
        assert findings.measure_ppo(arms) | findings.measure_actde(arms) == {}
    short = series(Arm(name="short", recipe=ACTDE.recipe, trials=2, steps=200), 0.5, trials=2)
    with pytest.raises(ValueError, match="expected steps within 0 to 200"):
        short.mean_between("alternate", 100, 204)


def test_factors_find_a_known_effect() -> None:
    """Whitening lowers the share by .2; nothing else has an effect."""
    cells = {arm.name: series(arm, 0.7 - 0.2 * ("whitened" in arm.name), noise=0.01) for arm in GRID}
    found = cells | {"actde": series(ACTDE, 0.7, trials=10, noise=0.01)}
    assert len(GRID) == 7
    alike = {arm.name: series(arm, 0.7, noise=0.15) for arm in GRID} | {"actde": series(ACTDE, 0.7, noise=0.15)}
    assert judge("sensitivity.", sensitivity.measure_grid(alike))["sensitivity.cells"] == NOT_REPRODUCED
    plain, other = sensitivity.paired_shares(found, "whitened")
    assert (other - plain).mean() == pytest.approx(-0.2, abs=0.03)
    assert judge("sensitivity.", sensitivity.measure_grid(found))["sensitivity.detached"] == NOT_REPRODUCED
    wild = found | {"actde-detached": series(GRID[1], 0.5, noise=0.45)}
    assert judge("sensitivity.", sensitivity.measure_grid(wild))["sensitivity.detached"] == REPRODUCED
    made = judge("sensitivity.", sensitivity.measure_grid(found))
    assert made["sensitivity.whitened"] == made["sensitivity.cells"] == made["sensitivity.no-collapse"] == REPRODUCED
    pure = found | {GRID[-1].name: series(GRID[-1], 0.02, entropy=0.05)}
    assert judge("sensitivity.", sensitivity.measure_grid(pure))["sensitivity.no-collapse"] == NOT_REPRODUCED
    table = sensitivity.grid_notes(found)[1].splitlines()
    assert len(table) == 2 + 8 and "| batch | detached | ilql | 5 |" in table[-1]
    missing = found | {GRID[0].name: series(GRID[0], 0.7, trials=0)}
    assert sensitivity.measure_grid(missing) == {}
    assert len(sensitivity.grid_notes(missing)[1].splitlines()) == 2 + 7


def test_every_cell_has_its_recipe() -> None:
    assert {sensitivity.cell_name(*switches) for switches in CELLS} == {"actde", *(arm.name for arm in GRID)}
    for arm in GRID:
        recipe = arm.recipe
        named = (recipe.whitening == "batch", recipe.detach_heads, recipe.value_loss == "ilql")
        assert named == ("whitened" in arm.name, "detached" in arm.name, "ilql" in arm.name)
        assert arm.steps == MIDDLE and arm.trials >= 5


def test_ablations_separate_the_recipe_from_the_rule() -> None:
    time = np.linspace(0, 1, ACTDE.rollouts)
    falling, staying = np.interp(time, [0, 0.02, 1], [0.5, 0.95, 0.6]), np.interp(time, [0, 0.02, 1], [0.5, 0.95, 0.95])
    found = {arm.name: series(arm, falling, noise=0.01) for arm in ABLATIONS}
    found["actde"] = series(ACTDE, falling, trials=10, noise=0.01)
    found["ppo"] = series(PPO, RISING)
    found["actde-no-decay"] = series(ABLATIONS[0], staying, noise=0.001)
    made = judge("sensitivity.", sensitivity.measure_ablations(found))
    assert made["sensitivity.drift.no-decay"] == NOT_REPRODUCED
    assert made["sensitivity.recipe.no-decay"] == made["sensitivity.drift.no-dropout"] == REPRODUCED
    words = sensitivity.ablation_notes(found)[-1]
    assert "the drift is smaller without weight decay" in words and "No drift is seen without weight decay" in words
    assert "| PPO, the same recipe | 5 |" in sensitivity.ablation_notes(found)[1]
    assert set(sensitivity.DESCRIPTIONS) == {arm.name for arm in ABLATIONS}
    for arm in ABLATIONS:
        assert arm.steps == LONG and arm.recipe != ACTDE.recipe


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quick reports of both parts, in one folder."""
    place = tmp_path_factory.mktemp("quick")
    for part in ("ipd", "sensitivity"):
        done = cli("reproduce", part, "--out", str(place), "--quick", "--seed", "3", timeout=1800)
        assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
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


@pytest.mark.slow
def test_nothing_is_run_twice(quick: Path) -> None:
    """A report whose trials are on record is made again without running a trial, and is the same."""
    before = (quick / report.RESULTS).read_bytes()
    for path in sorted((quick / "quick-runs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    answer("reproduce", "ipd", "--out", str(quick), "--quick", "--seed", "3", "--workers", "0")
    assert (quick / report.RESULTS).read_bytes() == before
    done = cli("reproduce", "ipd", "--out", str(quick), "--quick", "--seed", "4")
    assert done.returncode == 2 and "choose another folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_quick_report_never_replaces_a_full_one(quick: Path, tmp_path: Path) -> None:
    for name in (report.RESULTS, report.ABOUT):
        (tmp_path / name).write_bytes((quick / name).read_bytes())
    about = json.loads((tmp_path / report.ABOUT).read_text())
    about["ipd"]["quick"] = False
    (tmp_path / report.ABOUT).write_text(json.dumps(about))
    done = cli("reproduce", "ipd", "--out", str(tmp_path), "--quick")
    assert done.returncode == 2 and "holds the full report of ipd" in done.stderr


def test_with_nothing_there_no_report_is_made(tmp_path: Path) -> None:
    done = cli("reproduce", "ipd", "--out", str(tmp_path / "new"), "--workers", "0")
    assert done.returncode == 2 and "nothing was run" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "new").glob("*"))
