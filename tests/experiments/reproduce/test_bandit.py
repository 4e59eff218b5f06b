"""The bandit part: vectorized learners equal the plain ones, the command writes the report, numbers are consistent."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from actde.tabular import TabularACTDE, TabularPPO, Transition
from experiments.reproduce import bandit, report
from experiments.reproduce.bandit import appendix, bellman, exploration, growth, limits, mdp, post_tables
from experiments.reproduce.bandit.vectorized import Learner, log_spaced, simulate
from experiments.reproduce.finding import (
    CONTRADICTS,
    CRITERIA,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    Finding,
    Verdict,
    load_claims,
    load_notes,
    parse_printed,
    supported_notes,
)
from experiments.reproduce.statistics import BAND, over_seeds, slopes
from tests.helpers.command_line import answer, cli

PLAIN = [one for one in (*growth.LEARNERS, *limits.LEARNERS) if one.rule != "none" and not one.gradient]
STEPS, SEEDS = 400, 3


def plain_gaps(config: Learner, uniform: Any) -> Any:
    """Return the gap [T] of the plain learner, whose actions are drawn with the uniform numbers [T]."""
    kind = {"ppo": TabularPPO, "actde": TabularACTDE}[config.rule]
    learner, gaps = kind({0: {0: config.gap, 1: 0.0}}), []
    for n, number in enumerate(uniform, 1):
        learner.alpha, learner.b = config.alpha / n**config.alpha_power, config.b / n**config.b_power
        action = int(number >= learner.policy(0)[0])
        learner.learn(Transition(state=0, action=action, reward=config.rewards[action]))
        gaps.append(learner.logits[0][0] - learner.logits[0][1])
    return np.array(gaps)


@pytest.mark.parametrize("config", PLAIN, ids=lambda config: config.name)
def test_vectorized_learners_equal_the_plain_ones(config: Learner) -> None:
    curves = simulate(PLAIN, steps=STEPS, seeds=SEEDS, rng=np.random.default_rng(3), record_steps=range(1, STEPS + 1))
    uniform = np.random.default_rng(3).random((STEPS, SEEDS))
    expected = np.stack([plain_gaps(config, uniform[:, seed]) for seed in range(SEEDS)], axis=1)
    np.testing.assert_allclose(curves[config.name].gap, expected, rtol=1e-9, atol=1e-9)


def test_the_gradient_of_log_pi_moves_both_logits() -> None:
    """In the first step from an even policy, each logit moves by half the error, so the gap moves by the error."""
    learner = Learner(name="g", rule="none", gradient=True, rewards=(2.0, 3.0))
    curves = simulate([learner], steps=1, seeds=50, rng=np.random.default_rng(0), record_steps=[1])
    assert set(curves["g"].gap[0]) == {2.0, -3.0}


def test_curves_count_errors_and_pulls() -> None:
    """With alpha 1, PPO's gap grows by the difference of the two rewards at every change of arm, and never shrinks."""
    ppo = simulate(
        growth.LEARNERS[:1], steps=2000, seeds=20, rng=np.random.default_rng(0), record_steps=range(1, 2001)
    )["ppo"]
    change = np.diff(ppo.gap, axis=0)
    assert set(np.unique(np.round(change, 9))) == {0.0, 0.5}
    np.testing.assert_allclose(np.diff(ppo.movement, axis=0), change, atol=1e-9)
    last = np.array([np.flatnonzero(row)[-1] + 2 for row in change.T])
    np.testing.assert_array_equal(ppo.converged_at, last)
    assert (ppo.negative_errors <= ppo.pulls).all()
    assert (np.diff(ppo.negative_errors, axis=0) <= (change > 0)).all()
    np.testing.assert_array_equal(ppo.pulls[0], ppo.gap[0] < 0)  # the first reward moves its own logit


def test_log_spaced_numbers_contain_every_power_of_ten_once() -> None:
    places = log_spaced(10_000)
    assert places == sorted(set(places))
    assert {1, 10, 100, 1000, 10_000} <= set(places)


def test_slopes_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(9), rng.random((9, 4))
    np.testing.assert_allclose(slopes(x, y), np.polyfit(x, y, 1)[0])


def test_bands_over_seeds() -> None:
    band = over_seeds([1.0, 2.0, 3.0, 4.0])
    assert band["low"] < band["ours"] == 2.5 < band["high"]
    assert over_seeds([3.0, 3.0]) == {"ours": 3.0, "low": 3.0, "high": 3.0}
    assert over_seeds([True] * 20, unit=True)["low"] < 0.9
    for bad in ([], [math.nan]):
        with pytest.raises(ValueError, match="expected"):
            over_seeds(bad)


@pytest.mark.parametrize("seed", range(5))
def test_consistent_tables_satisfy_the_bellman_equations(seed: int) -> None:
    """v is the policy's mean of q, and q is the reward plus the discounted v of the next state."""
    rng = np.random.default_rng(seed)
    learner = TabularACTDE(mdp.initial_logits(world := mdp.random_mdp(rng, 0.9), rng))
    bellman.make_consistent(learner, world)
    for state, row in learner.q_values.items():
        policy = learner.policy(state)
        assert learner.values[state] == pytest.approx(sum(policy[a] * q for a, q in row.items()))
        for action, q in row.items():
            step: Any = (state, action)
            after = learner.values[int(world.next_states[step])]
            assert q == pytest.approx(world.rewards[step] + 0.9 * after)


def test_the_dilemma_is_the_posts() -> None:
    """cdcd... earns 2 and -1.76 in turn. After its given first c, its return is 1.492, the best of the post's six."""
    world = mdp.dilemma()
    ends = [world.step(before, now, np.random.default_rng(0)) for before, now in ((0, 1), (1, 0), (0, 0), (1, 1))]
    assert [step.reward for step in ends] == pytest.approx([2, -1.76139, 0.5, -0.738613])
    assert [step.next_state for step in ends] == [1, 0, 0, 1]


def test_expected_actde_keeps_v_at_the_policys_mean_of_q() -> None:
    learner = bellman.ExpectedACTDE({0: {0: 0.0, 1: 1.0}}, alpha=0.5)
    learner.learn(Transition(state=0, action=1, reward=3.0))
    policy = learner.policy(0)
    assert learner.values[0] == pytest.approx(sum(policy[a] * q for a, q in learner.q_values[0].items()))
    assert learner.values[0] != learner.q_values[0][1]


@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_converged_learners_know_all_rewards(alpha: float) -> None:
    learner = appendix.converged_learner({"a": 1.5, "b": -2.0}, {"a": 0.3, "b": 0.0}, alpha=alpha)
    assert learner.q_values[post_tables.STATE] == pytest.approx({"a": 1.5, "b": -2.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick report, made by the command."""
    place = tmp_path_factory.mktemp("reproduce") / "report"
    shown = json.loads(answer("reproduce", "bandit", "--out", str(place), "--quick", "--seed", "3", "--json"))
    assert shown["out"] == str(place)
    assert shown["findings"] == json.loads((place / report.RESULTS).read_text())
    assert shown["verdicts"]["bandit"]["reproduced"] > 0
    return place


@pytest.fixture(scope="module")
def findings(folder: Path) -> dict[str, Finding]:
    return {finding.id: finding for finding in report.read(folder)[0]}


def number(finding: Finding) -> float:
    assert isinstance(finding.ours, int | float)
    return finding.ours


def test_the_command_writes_a_report_that_follows_from_its_files(folder: Path) -> None:
    findings, about = report.read(folder)
    assert (folder / report.README).read_text() == report.markdown(findings, about)
    made = about["bandit"]
    assert (made.seed, made.quick) == (3, True)
    assert "--quick --seed 3" in made.command
    for name, _ in (pair for pairs in made.figures.values() for pair in pairs):
        assert (folder / name).read_text().startswith("<?xml")
    rows = json.loads((folder / report.RESULTS).read_text())
    assert {"id", "claim", "post", "ours", "low", "high", "verdict"} <= set(rows[0])


def test_every_cell_of_both_tables_is_there(findings: dict[str, Finding]) -> None:
    assert sum(name.startswith("bandit.ppo-table.") for name in findings) == 12
    assert sum(name.startswith("bandit.actde-table.") for name in findings) == 16


def test_cells_are_consistent(findings: dict[str, Finding]) -> None:
    """PPO's logits are sums of errors, and all its errors sum to v. ACTDE's policy is the softmax of its q."""
    logits = {"wedding": 0.0, "party": 0.0}
    for t, action in enumerate(post_tables.HISTORY, 1):
        cell = {name: number(findings[f"bandit.ppo-table.t{t}.{name}"]) for name in ("advantage", "pi", "v")}
        logits[action] += cell["advantage"]
        assert cell["pi"] == pytest.approx(expit(logits["wedding"] - logits["party"]))
        assert cell["v"] == pytest.approx(sum(logits.values()))
        row = {name: number(findings[f"bandit.actde-table.t{t}.{name}"]) for name in ("pi", "q-wedding", "q-party")}
        assert row["pi"] == pytest.approx(expit(row["q-wedding"] - row["q-party"]))


def test_limits_are_consistent(findings: dict[str, Finding]) -> None:
    assert number(findings["bandit.pizza"]) + number(findings["bandit.cookies"]) == pytest.approx(1)
    assert number(findings["bandit.limit"]) == pytest.approx(number(findings["bandit.actde-table.t4.pi"]))
    pizza, wirehead = (number(findings[f"bandit.wireheading.{name}"]) for name in ("pizza", "wirehead"))
    assert 0 < pizza < 1e-41
    assert pizza + wirehead == pytest.approx(1)
    assert math.log(pizza / wirehead) == pytest.approx(-90 - math.log(99))


def test_the_post_contradicts_itself_in_these_numbers(findings: dict[str, Finding]) -> None:
    odd = {name.removeprefix("bandit.") for name, finding in findings.items() if finding.verdict == CONTRADICTS}
    cells = {f"actde-table.t{t}.pi" for t in (2, 3, 4)}
    assert odd == cells | {"bits", "limit", "wireheading.pizza", "wireheading.wirehead", "speculation.reward-logits"}


def test_a_quick_run_does_not_judge_what_it_is_too_short_for(findings: dict[str, Finding]) -> None:
    for name in ("ppo.limit", "footnote2.both", "footnote2.actde", "cookies.actde", "cookies.fast", "cookies.ppo"):
        assert findings[f"bandit.{name}"].verdict == NOT_RUN


def test_the_posts_reward_logits_of_the_bandit_are_those_of_e_to_the_reward() -> None:
    said = expit(math.exp(post_tables.REWARDS["wedding"]) - math.exp(post_tables.REWARDS["party"]))
    printed, unit = parse_printed(str(load_claims("bandit")["speculation.reward-logits"].post))
    assert printed == pytest.approx(said, abs=unit / 2)


def test_what_the_post_does_not_say_is_added(findings: dict[str, Finding]) -> None:
    strict = ("bellman.noisy", "bellman.later", "bellman.stable", "cookies.fast", "wireheading.difference")
    assert not any(findings[f"bandit.{name}"].of_post for name in (*strict, "actde.gradient", "footnote3.invariant"))
    assert all(findings[f"bandit.{name}"].of_post for name in ("bellman.first", "bellman.noisy-mean", "actde.explore"))
    assert findings["bandit.actde.not-optimal"].post is None


def test_a_criterion_says_what_its_band_is(findings: dict[str, Finding]) -> None:
    bands = [finding for finding in findings.values() if finding.part == "bandit" and finding.low is not None]
    assert bands
    for finding in bands:
        assert finding.criterion in CRITERIA.values() or BAND in finding.criterion, finding


def test_first_tries_are_judged_by_where_q_begins() -> None:
    """The first try of a worse arm has a negative error in PPO. In ACTDE it has one only below q's initial 0."""
    for kind, signs in ((TabularPPO, (1.0, 1.0)), (TabularACTDE, (0.0, 1.0))):
        shares = [exploration.punished_share(kind, np.array([[0.2, 0.9]]) + shift) for shift in (0.0, -1.0)]
        assert tuple(shares) == signs


def test_a_factor_below_one_evens_out(findings: dict[str, Finding]) -> None:
    assert number(findings["bandit.appendix.extremize-above"]) == 1
    assert number(findings["bandit.appendix.extremize-below"]) == 0
    one, half = (appendix.final_policy({"a": 2.0, "b": 0.0}, c) for c in (1.0, 0.5))
    assert one["a"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert half["a"] == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_same_seed_gives_the_same_findings(findings: dict[str, Finding], tmp_path: Path) -> None:
    calls: list[tuple[float, float]] = []

    def progress(text: str, done: float, total: float) -> None:
        assert text
        calls.append((done, total))

    again = bandit.run(seed=3, quick=True, folder=tmp_path, workers=1, progress=progress)
    assert list(again.findings) == [finding for finding in findings.values() if finding.part == "bandit"]
    assert calls == sorted(calls)
    assert all(0 <= done <= total for done, total in calls)


def test_a_note_appears_only_with_its_verdicts(findings: dict[str, Finding]) -> None:
    all_notes = load_notes("bandit")
    wanted: dict[str, Verdict] = {name: REPRODUCED for note in all_notes for name in note.reproduced}
    wanted |= {name: NOT_REPRODUCED for note in all_notes for name in note.not_reproduced}
    assert {f"bandit.{name}" for name in wanted} <= set(findings)

    def shown(verdicts: dict[str, Verdict]) -> int:
        rows = [
            replace(next(iter(findings.values())), id=f"bandit.{name}", ours=1.0, verdict=verdict)
            for name, verdict in verdicts.items()
        ]
        return sum(map(len, supported_notes("bandit", rows).values()))

    assert shown(wanted) == len(all_notes)
    for name, verdict in wanted.items():
        other: Verdict = REPRODUCED if verdict == NOT_REPRODUCED else NOT_REPRODUCED
        dependent = sum(name in (*note.reproduced, *note.not_reproduced) for note in all_notes)
        assert shown(wanted | {name: other}) == len(all_notes) - dependent


def test_mistakes_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    done = cli("reproduce", "bandits", "--out", str(tmp_path / "report"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'bandit'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()
    (tmp_path / report.RESULTS).write_text("{}")
    done = cli("reproduce", "bandit", "--out", str(tmp_path), "--quick")
    assert done.returncode == 2
    assert "Input should be a valid array" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [report.RESULTS]
    done = cli("reproduce", "bandit", "--out", str(tmp_path / report.RESULTS), "--quick")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
