"""Trials of the fast path: they go on exactly, end where they should, and are kept in a record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from agents.protocol import AgentError
from experiments.reproduce.ipd_kernel import record, runs
from experiments.reproduce.ipd_kernel.runs import Arm, Job
from experiments.reproduce.ipd_kernel.trial import COLUMNS, Recipe, Trial
from games.ipd import PAYOFFS


def _job(steps: int = 12, trial: int = 0, **recipe: Any) -> Job:
    return Job(arm=Arm(name="arm", recipe=Recipe(**recipe), trials=2, steps=steps), trial=trial, seed=3)


def _trial(seed: int = 3, **recipe: Any) -> Trial:
    return Trial(Recipe(**recipe), np.random.SeedSequence(seed))


def test_an_interrupted_trial_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    job = _job()
    assert runs.finished(job, tmp_path) is None
    assert runs.advance(job, tmp_path / "pieces", 1) == 1
    assert runs.advance(job, tmp_path / "pieces", 1) == 2
    assert runs.advance(job, tmp_path / "pieces") == 3
    assert runs.advance(job, tmp_path / "whole") == 3
    pieces, whole = (runs.load(job, tmp_path / name).state() for name in ("pieces", "whole"))
    assert pieces.keys() == whole.keys()
    for name in pieces.keys() - {"seconds"}:
        torch.testing.assert_close(pieces[name], whole[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["ppo", "actde"])
def test_what_a_step_writes_down(optimizer: str) -> None:
    trial = _trial(optimizer=optimizer)
    row = dict(zip(COLUMNS, trial.step(), strict=True))
    assert row["alternate"] + row["cooperate"] + row["defect"] == pytest.approx(1)
    assert row["entropy"] == pytest.approx(np.log(2), abs=0.01)  # small weights choose evenly
    matrix = PAYOFFS["post"]
    apart = row["alternate"] / 2  # cd and dc come in pairs, up to one in 100
    wanted = row["cooperate"] * matrix[0][0] + row["defect"] * matrix[1][1] + apart * (matrix[0][1] + matrix[1][0])
    assert row["reward"] == pytest.approx(wanted, abs=0.04)


def test_trials_of_two_recipes_begin_alike() -> None:
    first, second = _trial(), _trial(optimizer="ppo", payoff="temptation-1")
    for name, parameter in first.model.weights.items():
        torch.testing.assert_close(parameter, second.model.weights[name], rtol=0, atol=0)
    assert first.step()[:3] == second.step()[:3]  # the first games, before anything is learned
    assert _trial(seed=4).step()[:3] != first.curves[0][:3]


def test_a_rollout_goes_on_where_the_last_one_ended() -> None:
    trial = _trial()
    trial.step()
    last = trial.last.copy()
    seen = []
    generate = trial.model.generate
    trial.model.generate = lambda first, random: seen.append(first.copy()) or generate(first, random)  # type: ignore[method-assign,func-returns-value]
    trial.step()
    np.testing.assert_array_equal(seen[0], last)


def test_detached_heads_leave_the_trunk_to_the_policy() -> None:
    """With nothing to gain, only v and q would move the trunk; detached they do not, but for weight decay."""
    settings: dict[str, Any] = {"weight_decay": 0.0, "dropout": 0.0, "lam": 0.0}
    for detached in (True, False):
        trial = _trial(3, detach_heads=detached, **settings)
        trial.payoff = torch.full((2, 2), 1.0)
        trial.optimizer.policy_loss = lambda batch, targets, outputs: 0.0 * outputs.logprobs  # type: ignore[method-assign]
        before = trial.model.weights["fc_weight"].detach().clone()
        trial.step()
        assert torch.equal(before, trial.model.weights["fc_weight"]) is detached


def test_run_brings_all_trials_to_their_end_and_says_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    jobs = [_job(8, trial) for trial in range(2)]
    runs.advance(jobs[0], tmp_path, 1)
    runs.run(jobs, tmp_path, workers=1, on_progress=lambda *news: told.append(news))
    assert told == [("arm/trial-00", 1, 3), ("arm/trial-01", 3, 3)]
    runs.run(jobs, tmp_path, workers=1, on_progress=lambda *news: told.append(news))
    assert len(told) == 2  # nothing was left to do


def test_the_record_keeps_finished_trials_only(tmp_path: Path) -> None:
    job = _job(8)
    runs.advance(job, tmp_path / "runs")
    runs.advance(_job(8, 1), tmp_path / "runs", 1)
    kept = record.read(tmp_path / record.NAME, seed=3)
    kept.take([job.arm], tmp_path / "runs")
    kept.write(tmp_path / record.NAME)
    again = record.read(tmp_path / record.NAME, seed=3)
    rows, seconds = again.of(job.arm)
    found = runs.finished(job, tmp_path / "runs")
    assert found is not None and rows.shape == (1, 2, len(COLUMNS))
    np.testing.assert_allclose(rows[0], found[0], rtol=1e-3, atol=1e-6)
    assert seconds == pytest.approx(found[1], abs=0.06)
    assert again.holds(job) and not again.holds(_job(8, 1)) and not again.holds(_job(12))


def test_another_recipe_or_seed_is_refused(tmp_path: Path) -> None:
    job, other = _job(4), _job(4, lam=0.5)
    runs.advance(job, tmp_path)
    for wrong in (other, Job(arm=job.arm, trial=0, seed=4)):
        with pytest.raises(AgentError, match="holds another trial"):
            runs.advance(wrong, tmp_path)
    kept = record.Record(seed=3)
    kept.take([job.arm], tmp_path)
    with pytest.raises(AgentError, match="choose another folder"):
        kept.holds(other)
    kept.write(tmp_path / record.NAME)
    with pytest.raises(AgentError, match="holds trials of seed 3, not 4"):
        record.read(tmp_path / record.NAME, seed=4)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    job = _job(4)
    runs.advance(job, tmp_path)
    path = job.folder(tmp_path) / runs.CHECKPOINT
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AgentError, match="not a complete safetensors file"):
        runs.advance(job, tmp_path)
    (tmp_path / record.NAME).write_bytes(b"nothing")
    with pytest.raises(AgentError, match="is not a record of trials"):
        record.read(tmp_path / record.NAME, seed=3)
    path.write_bytes(save({"other": torch.zeros(2)}))
    with pytest.raises(AgentError, match="is not a trial's"):
        runs.finished(job, tmp_path)
    path.unlink()
    (job.folder(tmp_path) / runs.ABOUT).write_text(json.dumps([1]))
    with pytest.raises(AgentError, match="expected a JSON object"):
        runs.load(job, tmp_path)
