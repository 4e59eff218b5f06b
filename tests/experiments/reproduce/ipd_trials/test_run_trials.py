"""Trials in batches: they resume exactly, end where they should, and are kept in a record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from agents.protocol import AgentError
from experiments.reproduce.ipd_trials import record, run_trials
from experiments.reproduce.ipd_trials.run_trials import Arm, Job
from experiments.reproduce.ipd_trials.trial import COLUMNS, Recipe, Trials
from experiments.reproduce.ipd_trials.trunk import Random
from games.ipd import PAYOFFS

BATCH = 2


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_trials, "BATCH", BATCH)


def _job(steps: int = 12, trial: int = 0, **recipe: Any) -> Job:
    arm = Arm(name="arm", recipe=Recipe(**recipe), trials=BATCH + 1, steps=steps)
    return Job(arm=arm, trials=range(trial, trial + 1), seed=3)


def _trials(*seeds: int, **recipe: Any) -> Trials:
    return Trials(Recipe(**recipe), [np.random.SeedSequence(seed) for seed in seeds or (3,)])


def test_an_arm_is_run_in_batches() -> None:
    assert [job.trials for job in run_trials.jobs_of(_job().arm, 3)] == [range(BATCH), range(BATCH, BATCH + 1)]


def test_short_runs_are_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_trials, "can_compile", lambda: True)
    for rollouts in (run_trials.COMPILED_FROM - 1, run_trials.COMPILED_FROM):
        trials = run_trials.load(_job(steps=4 * rollouts), tmp_path / str(rollouts))
        assert trials.model.compiled is (rollouts == run_trials.COMPILED_FROM)


@pytest.mark.slow
def test_trials_do_not_touch_each_other() -> None:
    """A trial has the same results in a batch as alone, up to rounding. Gradients are clipped per trial."""
    both, alone = _trials(3, 4, whitening="batch"), _trials(4, whitening="batch")
    found = [(both.step()[1], alone.step()[0]) for _ in range(2)]
    for one, other in found:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for name, weight in alone.model.weights.items():
        torch.testing.assert_close(both.model.weights[name][1], weight[0], rtol=1e-3, atol=1e-5, msg=name)


def test_gradients_are_clipped_as_torch_clips_them() -> None:
    trials = _trials(3, 4)
    for parameter in trials.model.weights.values():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter)))
        parameter.grad[1] *= 1e-4
    wanted = [[parameter.grad[trial].clone() for parameter in trials.model.weights.values()] for trial in range(2)]
    trials._clip_gradients()
    for trial, gradients in enumerate(wanted):
        alone = [torch.nn.Parameter(gradient) for gradient in gradients]
        for one, gradient in zip(alone, gradients, strict=True):
            one.grad = gradient
        torch.nn.utils.clip_grad_norm_(alone, 1.0)
        for one, parameter in zip(alone, trials.model.weights.values(), strict=True):
            assert one.grad is not None and parameter.grad is not None
            torch.testing.assert_close(parameter.grad[trial], one.grad)


@pytest.mark.slow
def test_an_interrupted_trial_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    job = _job()
    assert run_trials.finished_curves(job, tmp_path) is None
    assert run_trials.advance(job, tmp_path / "pieces", 1) == 1
    assert run_trials.advance(job, tmp_path / "pieces", 1) == 2
    assert run_trials.advance(job, tmp_path / "pieces") == 3
    assert run_trials.advance(job, tmp_path / "whole") == 3
    pieces, whole = (run_trials.load(job, tmp_path / name).state() for name in ("pieces", "whole"))
    assert pieces.keys() == whole.keys()
    for name in pieces.keys() - {"seconds"}:
        torch.testing.assert_close(pieces[name], whole[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["ppo", "actde"])
def test_what_a_step_writes_down(optimizer: str) -> None:
    trials = _trials(optimizer=optimizer)
    row = dict(zip(COLUMNS, trials.step()[0].tolist(), strict=True))
    assert row["alternate"] + row["cooperate"] + row["defect"] == pytest.approx(1)
    assert row["entropy"] == pytest.approx(np.log(2), abs=0.01)  # small weights choose evenly
    matrix = PAYOFFS["post"]
    apart = row["alternate"] / 2  # cd and dc come in pairs, up to one in 100
    wanted = row["cooperate"] * matrix[0][0] + row["defect"] * matrix[1][1] + apart * (matrix[0][1] + matrix[1][0])
    assert row["reward"] == pytest.approx(wanted, abs=0.04)


def test_trials_of_two_recipes_begin_alike() -> None:
    first, second = _trials(), _trials(optimizer="ppo", payoff="temptation-1")
    for name, parameter in first.model.weights.items():
        torch.testing.assert_close(parameter, second.model.weights[name], rtol=0, atol=0)
    games = first.step()[0, :3].tolist()
    assert games == second.step()[0, :3].tolist()  # the first games, before anything is learned
    assert _trials(4).step()[0, :3].tolist() != games


def test_a_rollout_goes_on_where_the_last_one_ended() -> None:
    trials = _trials()
    trials.step()
    last = trials.last.clone()
    seen = []
    generate = trials.model.generate

    def record_first(first_tokens: torch.Tensor, random: Random) -> Any:
        seen.append(first_tokens.clone())
        return generate(first_tokens, random)

    trials.model.generate = record_first  # type: ignore[method-assign]
    trials.step()
    assert torch.equal(seen[0], last)


def test_detached_heads_leave_the_trunk_to_the_policy() -> None:
    """The policy loss is 0, so only the losses of v and q can move the trunk. With detached heads, they do not."""
    settings: dict[str, Any] = {"weight_decay": 0.0, "dropout": 0.0, "gae_lambda": 0.0}
    for detached in (True, False):
        trials = _trials(3, detach_heads=detached, **settings)
        trials.payoff = torch.full((2, 2), 1.0)
        trials.optimizer.policy_loss = lambda batch, targets, outputs: 0.0 * outputs.logprobs  # type: ignore[method-assign]
        before = trials.model.weights["fc_weight"].detach().clone()
        trials.step()
        assert torch.equal(before, trials.model.weights["fc_weight"]) is detached


def test_run_brings_all_trials_to_their_end_and_says_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    jobs = [_job(8, trial) for trial in range(2)]
    run_trials.advance(jobs[0], tmp_path, 1)
    run_trials.run(jobs, tmp_path, workers=1, on_progress=lambda *news: told.append(news))
    assert told == [("arm/trials-00-00", 1, 3), ("arm/trials-01-01", 3, 3)]
    run_trials.run(jobs, tmp_path, workers=1, on_progress=lambda *news: told.append(news))
    assert len(told) == 2  # nothing was left to do


def test_the_record_keeps_finished_trials_only(tmp_path: Path) -> None:
    whole, part = run_trials.jobs_of(_job(8).arm, 3)
    run_trials.advance(whole, tmp_path / "runs")
    run_trials.advance(part, tmp_path / "runs", 1)
    kept = record.read(tmp_path / record.NAME, seed=3)
    kept.add_finished([whole.arm], tmp_path / "runs")
    kept.write(tmp_path / record.NAME)
    again = record.read(tmp_path / record.NAME, seed=3)
    rows, seconds = again.curves_of(whole.arm)
    found = run_trials.finished_curves(whole, tmp_path / "runs")
    assert found is not None and rows.shape == (BATCH, 2, len(COLUMNS))
    np.testing.assert_allclose(rows, found[0], rtol=1e-3, atol=1e-6)
    assert seconds == pytest.approx(found[1], abs=0.06 * BATCH)
    assert again.holds(whole) and again.holds(_job(8)) and not again.holds(part) and not again.holds(_job(12))


def test_another_recipe_or_seed_is_refused(tmp_path: Path) -> None:
    job, other = _job(4), _job(4, gae_lambda=0.5)
    run_trials.advance(job, tmp_path)
    for wrong in (other, Job(arm=job.arm, trials=job.trials, seed=4)):
        with pytest.raises(AgentError, match="holds other trials"):
            run_trials.advance(wrong, tmp_path)
    (batch,) = run_trials.jobs_of(replace(job.arm, trials=1), 3)
    kept = record.Record(seed=3)
    kept.add_finished([batch.arm], tmp_path)
    with pytest.raises(AgentError, match="choose another folder"):
        kept.holds(other)
    kept.write(tmp_path / record.NAME)
    with pytest.raises(AgentError, match="holds trials of seed 3, not 4"):
        record.read(tmp_path / record.NAME, seed=4)


@pytest.mark.parametrize("place", ["curves", "metadata"])
def test_a_flipped_bit_of_the_record_is_noticed(tmp_path: Path, place: str) -> None:
    whole, path = run_trials.jobs_of(_job(8).arm, 3)[0], tmp_path / record.NAME
    run_trials.advance(whole, tmp_path / "runs")
    kept = record.Record(seed=3)
    kept.add_finished([whole.arm], tmp_path / "runs")
    kept.write(path)
    content = bytearray(path.read_bytes())
    position = len(content) - 2 if place == "curves" else content.index(b".", content.index(b"seconds")) + 1
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(AgentError, match="is not a record of trials: its content does not match its digest"):
        record.read(path, seed=3)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    job = _job(4)
    run_trials.advance(job, tmp_path)
    path = tmp_path / job.name / run_trials.CHECKPOINT
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AgentError, match="not a complete safetensors file"):
        run_trials.advance(job, tmp_path)
    (tmp_path / record.NAME).write_bytes(b"nothing")
    with pytest.raises(AgentError, match="is not a record of trials"):
        record.read(tmp_path / record.NAME, seed=3)
    path.write_bytes(save({"other": torch.zeros(2)}))
    with pytest.raises(AgentError, match="is no checkpoint of trials"):
        run_trials.finished_curves(job, tmp_path)
    path.unlink()
    (tmp_path / job.name / run_trials.ABOUT).write_text(json.dumps([1]))
    with pytest.raises(AgentError, match="expected a JSON object"):
        run_trials.load(job, tmp_path)
