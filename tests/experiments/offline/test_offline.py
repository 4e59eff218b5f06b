"""The comparison of offline learners in its smallest form: a bandit and the trunk pico."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import AgentError
from experiments.offline import __main__ as program
from experiments.offline import report
from experiments.offline.contrasts import CONTRASTS, SEEDS, TUNING_SEED
from experiments.offline.tasks import LEARNERS, PRIOR, TASKS, Task, explicit_settings
from tests import ROOT

OUT = ROOT / "docs/offline"
BANDIT = Task(
    "A bandit",
    "bandit?arms=red,blue&rewards=0,1",
    "random:32",
    {"max_turns": 1, "trunk": "pico", "tracker": "none", "parallel": 16, "group_size": 1},
    {"episodes": 16, "iterations": 1, "q_heads": 2, "head_layers": 2, "lr": 1e-3},
    {"episodes": 16, "iterations": 30, "epochs": 1, "minibatches": 1, "lr": 1e-2},
    {"episodes": 16, "iterations": 1},
)
NAMES = (PRIOR, "imitation", "filtered imitation", "decision")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only task is the bandit, with one seed and some of the learners."""
    for module in (program, report):
        monkeypatch.setattr(module, "TASKS", {"bandit": BANDIT})
        monkeypatch.setattr(module, "LEARNERS", {name: LEARNERS[name] for name in NAMES})
        monkeypatch.setattr(module, "EPISODES", 16)
    monkeypatch.setattr(program, "SEEDS", (0,))


def stored(folder: Path) -> Any:
    return json.loads((folder / program.RESULTS).read_text())


@pytest.mark.slow
def test_missing_runs_are_completed_once(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    program.main(out, runs, "bandit", "0")
    first = stored(out)
    cells = {name: first["cells"][f"bandit, {name}"]["0"] for name in NAMES}
    assert cells["filtered imitation"]["score"] > 0.9, "only the won episodes are imitated"
    assert cells["imitation"]["score"] < 0.8, "half of the episodes are lost"
    assert cells["filtered imitation"]["kl"] > 0.3 > cells["imitation"]["kl"] > 0.0
    assert cells["decision"]["score"] > 0.8 > 0.2 > cells["decision"]["wanting_0"]
    text = (out / program.REPORT).read_text()
    assert "## A bandit" in text

    changed = stored(out)
    changed["settings"]["bandit, imitation"]["lr"] = 1.0  # as if the learner had changed since
    (out / program.RESULTS).write_text(json.dumps(changed))
    program.main(out, runs, "none", "0")
    assert "| imitation | recorded play | 0 | not measured yet |" in (out / program.REPORT).read_text()
    capsys.readouterr()
    program.main(out, runs, "bandit", "0")
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["bandit, imitation, seed 0"]
    assert stored(out) == first
    assert (out / program.REPORT).read_text() == text


def test_results_of_another_first_policy_are_dropped(small: None) -> None:
    empty = program.current_results({"settings": {}, "cells": {}})
    names = [f"bandit, {name}" for name in NAMES]
    assert list(empty["settings"]) == names
    results = program.Results(settings=empty["settings"], cells={name: {"0": {"won": 1.0}} for name in names})
    assert program.current_results(results) == results
    other = {**empty["settings"], names[0]: {}}
    assert program.current_results({**results, "settings": other})["cells"] == {}


@pytest.mark.parametrize("task", TASKS)
def test_learners_of_a_task_have_equal_data_or_equal_numbers_of_episodes(task: str) -> None:
    found: dict[str, set[Any]] = {"data": set(), "own": set()}
    for name, learner in LEARNERS.items():
        values = explicit_settings(TASKS[task], name, 0, Path(PRIOR))
        drawn = values["episodes"] * values["iterations"]
        if learner.kind in found:
            found[learner.kind].add((values.get("data"), values["init"], values["parallel"], drawn))
    assert {kind: len(values) for kind, values in found.items()} == {"data": 1, "own": 1}


def test_contrasts_and_diverged_runs_are_reported(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LEARNERS", LEARNERS)
    won = {"ilql": (1.0, 0.8, 0.9), "filtered imitation": (0.5, 0.2, 0.4), "actde": (0.0, 0.0, 0.0)}
    won["ppo as actde"] = (0.2, 0.2, 0.2)
    cells = {
        f"bandit, {name}": {
            str(seed): {"won": value, "kl": 9 * value} for seed, value in zip(SEEDS, values, strict=True)
        }
        for name, values in won.items()
    } | {"bandit, mpo": {"0": {"error": "the loss is not finite"}}}
    text = report.report(cells)
    assert "| won, sampled | ilql - filtered imitation | 3 | 0.53 (0.39 to 0.68) | 0.012 |" in text
    assert "Corrected for all 3 contrasts of all tasks, the smallest is 0.012." in text
    assert "| KL to pi_0 | actde - ppo as actde | 3 | -1.80 | 1 |" in text  # not clipped to the range of a share
    assert "| mpo | own play | 1, 1 diverged |  |" in text
    assert "decision - imitation" not in text
    assert TUNING_SEED not in SEEDS
    assert {name for contrast in CONTRASTS for name in contrast[:2]} <= set(LEARNERS)


def test_texts_are_compared_by_their_reward_and_their_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    rewards = {"actde": (0.5, 0.7), "ppo as actde": (0.2, 0.3), PRIOR: (0.1, 0.1), "decision": (0.3, 0.3)}
    cells = {
        f"completion, {name}": {
            str(seed): {"score": value, "reward": value, "text_kl": 2 * value, "entropy": 50.0}
            for seed, value in enumerate(values)
        }
        for name, values in rewards.items()
    }
    monkeypatch.setattr(report, "FINDINGS", {})
    text = report.report(cells).partition(TASKS["completion"].title)[2]
    (head,) = (line for line in text.splitlines() if line.startswith("| learner"))
    assert head == "| learner | learns from | seeds | reward | KL to pi_0, per token | entropy |"
    assert "| decision | recorded play | 2 | 0.30 | 0.60 | 50.00 |" in text
    assert "| reward | actde - ppo as actde | 2 | 0.35 (-0.29 to 0.99) |" in text
    assert "| KL to pi_0, per token | actde - ppo as actde | 2 | 0.70 (-0.57 to 1.97) |" in text
    assert "actde with the q of pi_0" not in text.partition(head)[2]


def test_an_unknown_seed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="--seeds expects some of 0, 1, 2, got '7'"):
        program.main(tmp_path, tmp_path, "coin", "7")


@pytest.mark.parametrize(
    ("tasks", "seeds", "message"),
    [("coin", "1,0,1", "--seeds gives 1 twice"), ("coin,coin", "0", "--tasks gives coin twice")],
)
def test_a_repeated_seed_or_task_is_one_line(tmp_path: Path, tasks: str, seeds: str, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        program.main(tmp_path / "out", tmp_path, tasks, seeds)
    assert not (tmp_path / "out").exists()


def test_the_report_shows_the_results() -> None:
    assert (OUT / program.REPORT).read_text() == report.report(stored(OUT)["cells"])
