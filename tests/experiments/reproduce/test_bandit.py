"""The bandit part: its fast learners are the plain ones, its report comes out of the command, numbers fit together."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actde.tabular import TabularACTDE, TabularPPO, Transition
from experiments.reproduce import bandit, report
from experiments.reproduce.bandit import appendix, exploring, factors, growth, limits, mdp, notes, schedules, tables
from experiments.reproduce.bandit.lanes import Lane, moments, simulate
from experiments.reproduce.finding import CONTRADICTS, NOT_RUN, SECTIONS, Finding, claim
from experiments.reproduce.seeds import BAND, over_seeds, slopes
from tests.test_cli import answer, cli

PLAIN = [lane for lane in (*growth.LANES, *limits.LANES) if lane.rule != "none" and not lane.gradient]
STEPS, SEEDS = 400, 3


def plain(lane: Lane, uniform: Any) -> Any:
    """[T], the gap of the plain learner that draws its actions with the same numbers [T]."""
    kind = {"ppo": TabularPPO, "actde": TabularACTDE}[lane.rule]
    learner, gaps = kind({0: {0: lane.gap, 1: 0.0}}), []
    for n, number in enumerate(uniform, 1):
        learner.alpha, learner.b = lane.alpha / n**lane.alpha_power, lane.b / n**lane.b_power
        action = int(number >= learner.policy(0)[0])
        learner.learn(Transition(state=0, action=action, reward=lane.rewards[action]))
        gaps.append(learner.logits[0][0] - learner.logits[0][1])
    return np.array(gaps)


@pytest.mark.parametrize("lane", PLAIN, ids=lambda lane: lane.name)
def test_lanes_are_the_plain_learners(lane: Lane) -> None:
    course = simulate(PLAIN, steps=STEPS, seeds=SEEDS, rng=np.random.default_rng(3), at=range(1, STEPS + 1))
    uniform = np.random.default_rng(3).random((STEPS, SEEDS))
    wanted = np.stack([plain(lane, uniform[:, seed]) for seed in range(SEEDS)], axis=1)
    np.testing.assert_allclose(course.of(lane.name).gap[:, 0], wanted, rtol=1e-9, atol=1e-9)


def test_the_gradient_of_log_pi_moves_both_logits() -> None:
    """The first step from an even policy: each logit moves by half the error, so the gap by the error."""
    lanes = [Lane(name="g", rule="none", gradient=True, rewards=(2.0, 3.0))]
    gap = simulate(lanes, steps=1, seeds=50, rng=np.random.default_rng(0), at=[1]).gap[0, 0]
    assert set(gap) == {2.0, -3.0}


def test_what_a_course_counts() -> None:
    """With alpha 1 and two rewards PPO's gap moves by their difference at every change of arm, never back."""
    course = simulate(growth.LANES[:1], steps=2000, seeds=20, rng=np.random.default_rng(0), at=range(1, 2001))
    change = np.diff(course.gap[:, 0], axis=0)
    assert set(np.unique(np.round(change, 9))) == {0.0, 0.5}
    np.testing.assert_allclose(np.diff(course.moved[:, 0], axis=0), change, atol=1e-9)
    last = np.array([np.flatnonzero(row)[-1] + 2 for row in change.T])
    np.testing.assert_array_equal(course.settled[0], last)
    assert (course.negative <= course.tries).all()
    assert (np.diff(course.negative[:, 0], axis=0) <= (change > 0)).all()
    np.testing.assert_array_equal(course.tries[0, 0], course.gap[0, 0] < 0)  # the first reward moves its own logit


def test_moments_have_every_power_of_ten_once() -> None:
    places = moments(10_000)
    assert places == sorted(set(places))
    assert {1, 10, 100, 1000, 10_000} <= set(places)


def test_slopes_and_sums() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(9), rng.random((9, 4))
    np.testing.assert_allclose(slopes(x, y), np.polyfit(x, y, 1)[0])
    np.testing.assert_allclose(schedules.harmonic(np.array([1, 2, 4])), [1, 1.5, 25 / 12])


def test_bands_over_seeds() -> None:
    band = over_seeds([1.0, 2.0, 3.0, 4.0])
    assert band["low"] < band["ours"] == 2.5 < band["high"]
    assert over_seeds([3.0, 3.0]) == {"ours": 3.0, "low": 3.0, "high": 3.0}
    assert over_seeds([True] * 20, unit=True)["low"] < 0.9
    for bad in ([], [math.nan]):
        with pytest.raises(ValueError, match="expected"):
            over_seeds(bad)


@pytest.mark.parametrize("seed", range(5))
def test_consistent_tables_are(seed: int) -> None:
    """v is the policy's mean of q, and q is the reward and the discounted v of what follows."""
    rng = np.random.default_rng(seed)
    learner = TabularACTDE(mdp.start(world := mdp.random_mdp(rng, 0.9), rng))
    mdp.consistent(learner, world)
    for state, row in learner.q_values.items():
        policy = learner.policy(state)
        assert learner.values[state] == pytest.approx(sum(policy[a] * q for a, q in row.items()))
        for action, q in row.items():
            step: Any = (state, action)
            after = learner.values[int(world.follows[step])]
            assert q == pytest.approx(world.rewards[step] + 0.9 * after)


def test_the_dilemma_is_the_posts() -> None:
    """cdcd... earns 2 and -1.76 in turn: the best of the six returns, 1.492 with an opening c played."""
    world = mdp.dilemma()
    ends = [world.step(before, now, np.random.default_rng(0)) for before, now in ((0, 1), (1, 0), (0, 0), (1, 1))]
    assert [step.reward for step in ends] == pytest.approx([2, -1.76139, 0.5, -0.738613])
    assert [step.next_state for step in ends] == [1, 0, 0, 1]


def test_expected_actde_keeps_v_at_the_policys_mean_of_q() -> None:
    learner = mdp.ExpectedACTDE({0: {0: 0.0, 1: 1.0}}, alpha=0.5)
    learner.learn(Transition(state=0, action=1, reward=3.0))
    policy = learner.policy(0)
    assert learner.values[0] == pytest.approx(sum(policy[a] * q for a, q in learner.q_values[0].items()))
    assert learner.values[0] != learner.q_values[0][1]


@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_converged_learners_are(alpha: float) -> None:
    learner = appendix.converged({"a": 1.5, "b": -2.0}, {"a": 0.3, "b": 0.0}, alpha=alpha)
    assert learner.q_values[0] == pytest.approx({"a": 1.5, "b": -2.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick report, made by the command."""
    place = tmp_path_factory.mktemp("reproduce") / "report"
    shown = answer("reproduce", "bandit", "--out", str(place), "--quick", "--seed", "3")
    assert str(place / report.README) in shown
    assert "reproduced" in shown
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Finding]:
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


def test_every_cell_of_both_tables_is_there(found: dict[str, Finding]) -> None:
    assert sum(name.startswith("bandit.ppo-table.") for name in found) == 12
    assert sum(name.startswith("bandit.actde-table.") for name in found) == 16


def test_cells_fit_together(found: dict[str, Finding]) -> None:
    """Logits are sums of errors, ACTDE's policy is the softmax of its q, PPO's sum of errors is v."""
    logits = {"wedding": 0.0, "party": 0.0}
    for t, action in enumerate(tables.HISTORY, 1):
        cell = {name: number(found[f"bandit.ppo-table.t{t}.{name}"]) for name in ("advantage", "pi", "v")}
        logits[action] += cell["advantage"]
        assert cell["pi"] == pytest.approx(tables.softmax(logits, "wedding"))
        assert cell["v"] == pytest.approx(sum(logits.values()))
        row = {name: number(found[f"bandit.actde-table.t{t}.{name}"]) for name in ("pi", "q-wedding", "q-party")}
        q_values = {"wedding": row["q-wedding"], "party": row["q-party"]}
        assert row["pi"] == pytest.approx(tables.softmax(q_values, "wedding"))


def test_limits_fit_together(found: dict[str, Finding]) -> None:
    assert number(found["bandit.pizza"]) + number(found["bandit.cookies"]) == pytest.approx(1)
    assert number(found["bandit.limit"]) == pytest.approx(number(found["bandit.actde-table.t4.pi"]))
    pizza, wirehead = (number(found[f"bandit.wireheading.{name}"]) for name in ("pizza", "wirehead"))
    assert 0 < pizza < 1e-41
    assert pizza + wirehead == pytest.approx(1)
    assert math.log(pizza / wirehead) == pytest.approx(-90 - math.log(99))


def test_contradictions_are_the_posts_and_what_is_too_short_is_not_judged(found: dict[str, Finding]) -> None:
    odd = {name.removeprefix("bandit.") for name, finding in found.items() if finding.verdict == CONTRADICTS}
    cells = {f"actde-table.t{t}.pi" for t in (2, 3, 4)}
    assert odd == cells | {"bits", "limit", "wireheading.pizza", "wireheading.wirehead", "speculation.reward-logits"}
    for name in ("footnote2.both", "cookies.actde"):
        assert found[f"bandit.{name}"].verdict == NOT_RUN


def test_what_the_post_does_not_say_is_added(found: dict[str, Finding]) -> None:
    strict = ("bellman.noisy", "bellman.later", "bellman.stable", "cookies.fast", "wireheading.difference")
    assert not any(found[f"bandit.{name}"].of_post for name in (*strict, "actde.gradient", "footnote3.ledger"))
    assert all(found[f"bandit.{name}"].of_post for name in ("bellman.first", "bellman.noisy-mean", "actde.explore"))
    assert found["bandit.actde.not-optimal"].post is None


def test_a_criterion_says_what_its_band_is(found: dict[str, Finding]) -> None:
    bands = [finding for finding in found.values() if finding.low is not None or finding.high is not None]
    assert bands
    kinds = (BAND, "band is what", "(the band)", "is the post's.")
    for finding in bands:
        assert any(words in finding.criterion for words in kinds), finding


def test_first_tries_are_judged_by_where_q_begins() -> None:
    """Below q's initial 0 a worse arm's first try has a negative error under both rules, above only under PPO."""
    for kind, signs in ((TabularPPO, (1.0, 1.0)), (TabularACTDE, (0.0, 1.0))):
        shares = [exploring.punished(kind, np.array([[0.2, 0.9]]) + shift) for shift in (0.0, -1.0)]
        assert tuple(shares) == signs


def test_a_factor_below_one_evens_out(found: dict[str, Finding]) -> None:
    assert number(found["bandit.appendix.extremize-above"]) == 1
    assert number(found["bandit.appendix.extremize-below"]) == 0
    one, half = (factors.multiplied({"a": 2.0, "b": 0.0}, c) for c in (1.0, 0.5))
    assert one["a"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert half["a"] == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_same_seed_gives_the_same_findings(found: dict[str, Finding], tmp_path: Path) -> None:
    calls: list[tuple[float, float]] = []

    def progress(text: str, done: float, total: float) -> None:
        assert text
        calls.append((done, total))

    again = bandit.run(seed=3, quick=True, folder=tmp_path, workers=1, progress=progress)
    assert list(again.findings) == [finding for finding in found.values() if finding.part == "bandit"]
    assert calls == sorted(calls)
    assert all(0 <= done <= total for done, total in calls)


def test_a_note_stands_only_on_its_verdicts(found: dict[str, Finding]) -> None:
    wanted = {name: True for note in notes.NOTES for name in note.holds}
    wanted |= {name: False for note in notes.NOTES for name in note.fails}
    assert {f"bandit.{name}" for name in wanted} <= set(found)

    def standing(verdicts: dict[str, bool]) -> int:
        rows = [
            claim(f"bandit.{name}", "A claim.", section=SECTIONS[0], ours=1.0, holds=holds, criterion="It holds.")
            for name, holds in verdicts.items()
        ]
        return sum(map(len, notes.standing(rows).values()))

    assert standing(wanted) == len(notes.NOTES)
    for name, holds in wanted.items():
        resting = sum(name in (*note.holds, *note.fails) for note in notes.NOTES)
        assert standing(wanted | {name: not holds}) == len(notes.NOTES) - resting


def test_mistakes_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    done = cli("reproduce", "bandits", "--out", str(tmp_path / "report"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'bandit'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()
    (tmp_path / report.RESULTS).write_text("{}")
    done = cli("reproduce", "bandit", "--out", str(tmp_path), "--quick")
    assert done.returncode == 2
    assert "expected a list" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [report.RESULTS]
    done = cli("reproduce", "bandit", "--out", str(tmp_path / report.RESULTS), "--quick")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
