"""The fit of q on texts of a fixed policy: returns by hand, and rollouts whose explained variance is known."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.rlhf import fit as module
from experiments.rlhf import fit_training
from experiments.rlhf.fit import CHANGES, DEFAULT
from experiments.rlhf.fit_rollouts import LAST, Rollout, SampledReturns
from experiments.rlhf.fit_training import HeadTrainer, fit, ridge, sampled_targets
from tests.helpers.models import bigram_model

WIDTH, VOCABULARY, TEXTS = 6, 12, 256
SHARES = {"state": 0.4, "token": 0.3}
"""Shares of the returns' variance that a linear function of the hidden state explains, and that the token explains."""
FIELDS = ("rows", "columns", "hidden", "tokens", "rewards", "mask")


def ragged() -> Rollout:
    """Return two texts of three choices and one choice, with rewards of 2 and -1."""
    return Rollout(
        rows=torch.tensor([0, 0, 0, 1]),
        columns=torch.tensor([0, 1, 2, 0]),
        hidden=torch.zeros(4, WIDTH),
        tokens=torch.zeros(4, dtype=torch.long),
        rewards=torch.tensor([[0.0, 0.0, 2.0], [-1.0, 0.0, 0.0]]),
        mask=torch.tensor([[True, True, True], [True, False, False]]),
    )


@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        (0.0, [0.5, 1.0, 2.0, -1.0]),  # v of the next choice, and the reward at the end
        (1.0, [2.0, 2.0, 2.0, -1.0]),  # the undiscounted reward of the text
        (0.5, [0.5 * 0.5 + 0.5 * 1.5, 0.5 * 1.0 + 0.5 * 2.0, 2.0, -1.0]),
    ],
)
def test_lambda_returns_by_hand(gae_lambda: float, expected: list[float]) -> None:
    values = torch.tensor([7.0, 0.5, 1.0, 3.0])
    torch.testing.assert_close(ragged().returns(values, gae_lambda), torch.tensor(expected))


def test_explained_variances_by_hand() -> None:
    rollout = ragged()  # the Monte Carlo returns are 2, 2, 2 and -1, with variance 9/4
    v, q = torch.tensor([2.0, 2.0, 2.0, 1.0]), torch.tensor([2.0, 2.0, 2.0, 0.0])
    explained = fit_training._explained_variances(rollout, v, q)
    assert explained == pytest.approx((1 - 4 / 9, 1 - 1 / 9, 1 - 1 / 4))  # the rest has 1 + v, and 1 + q, at one choice
    shifted = fit_training._explained_variances(rollout, v + 5, q - 5)
    assert shifted == pytest.approx(explained), "a constant explains nothing, and costs nothing"


def synthetic(rollouts: int, *, noise_only: bool = False) -> tuple[list[Rollout], Tensor]:
    """Return rollouts of texts of one choice, and the embedding of the tokens."""
    random = torch.Generator().manual_seed(0)
    embedding = torch.randn(VOCABULARY, WIDTH, generator=random)
    of_state, of_token = torch.randn(WIDTH, generator=random), torch.randn(WIDTH, generator=random)
    of_state, level = of_state / of_state.norm(), embedding @ of_token
    level = (level - level.mean()) / level.std(correction=0)
    made = []
    for _ in range(rollouts):
        hidden, noise = torch.randn(TEXTS, WIDTH, generator=random), torch.randn(TEXTS, generator=random)
        tokens = torch.randint(VOCABULARY, (TEXTS,), generator=random)
        known = SHARES["state"] ** 0.5 * (hidden @ of_state) + SHARES["token"] ** 0.5 * level[tokens]
        returns = noise if noise_only else known + (1 - sum(SHARES.values())) ** 0.5 * noise
        made.append(
            Rollout(
                rows=torch.arange(TEXTS),
                columns=torch.zeros(TEXTS, dtype=torch.long),
                hidden=hidden,
                tokens=tokens,
                rewards=returns[:, None],
                mask=torch.ones(TEXTS, 1, dtype=torch.bool),
            )
        )
    return made, embedding


FAST = DEFAULT | {"q_lr": 0.02, "value_lr": 0.02}


@pytest.mark.parametrize("change", [{}, {"q_heads": 2}, {"replay": 3}, {"dueling": False}])
def test_heads_explain_the_known_share(change: dict[str, Any]) -> None:
    """v can explain the state's share, q both shares, and q - v the token's share of what v leaves unexplained."""
    rollouts, embedding = synthetic(60)
    explained = fit(rollouts, embedding, 0, **(FAST | change))
    state, both = SHARES["state"], sum(SHARES.values())
    assert explained["v"] == pytest.approx(state, abs=0.04)
    assert explained["q"] == pytest.approx(both, abs=0.06)
    assert explained["advantage"] == pytest.approx(SHARES["token"] / (1 - state), abs=0.08)


def test_a_rollout_is_predicted_before_it_is_learned() -> None:
    """Heads that learn a rollout explain its noise. Predictions of new noise explain nothing."""
    rollouts, embedding = synthetic(24, noise_only=True)
    explained = fit(
        [replace(r, **{n: getattr(r, n)[:12] for n in FIELDS}) for r in rollouts],
        embedding,
        0,
        **(FAST | {"epochs": 20}),
    )
    assert explained["v"] < 0 and explained["q"] < 0


def test_each_rate_trains_its_own_head() -> None:
    rollouts, embedding = synthetic(40)
    still = fit(rollouts, embedding, 0, **(FAST | {"q_lr": 0.0}))
    assert still["v"] > 0.3 and still["q"] == pytest.approx(still["v"]), "a dueling q starts as v"
    still = fit(rollouts, embedding, 0, **(FAST | {"value_lr": 0.0, "dueling": False}))
    assert still["v"] == pytest.approx(0.0, abs=1e-6) and still["q"] > 0.5


def test_target_heads_follow_slowly() -> None:
    rollouts, embedding = synthetic(LAST)
    fresh, late = (fit(rollouts, embedding, 0, **(FAST | {"target_q": target})) for target in (False, True))
    assert late["q"] < fresh["q"] - 0.05 and late["v"] == pytest.approx(fresh["v"])


def test_ridge_regressions_explain_the_known_share() -> None:
    rollouts, embedding = synthetic(60)
    explained = ridge(rollouts, embedding, 1.0)
    assert explained["state"] == pytest.approx(SHARES["state"], abs=0.04)
    assert explained["state and token"] == pytest.approx(sum(SHARES.values()), abs=0.04)
    assert ridge(rollouts, embedding, 1e9)["state"] == pytest.approx(0.0, abs=1e-3), "a large penalty leaves the mean"
    noise, embedding = synthetic(LAST + 1, noise_only=True)
    assert ridge(noise, embedding, 1e-3)["state and token"] < 0.01, "the last rollouts are not trained on"


def known(rollouts: Sequence[Rollout], embedding: Tensor, noise: float) -> list[Rollout]:
    """Return the rollouts with four sampled returns of two tokens in each state.

    A return of token t is the first entry of the hidden state, plus the first entry of the embedding of t, plus noise.
    """
    random, made = torch.Generator().manual_seed(1), []
    for rollout in rollouts:
        tokens = torch.randint(VOCABULARY, (TEXTS, 2), generator=random)
        means = rollout.hidden[:, :1] + embedding[tokens, 0]
        returns = means[:, :, None] + noise * torch.randn(TEXTS, 2, 4, generator=random)
        made.append(replace(rollout, sampled=SampledReturns(torch.arange(TEXTS), tokens, returns.double())))
    return made


def test_targets_of_sampled_returns_are_means() -> None:
    returns = torch.arange(16.0, dtype=torch.float64).view(2, 2, 4) ** 2
    sampled = SampledReturns(torch.tensor([3, 0]), torch.tensor([[5, 6], [7, 7]]), returns)
    targets = sampled_targets(replace(ragged(), sampled=sampled), 4)
    assert targets.choices.tolist() == [3, 3, 0, 0] and targets.tokens.tolist() == [5, 6, 7, 7]
    torch.testing.assert_close(targets.q, returns.mean(2).flatten().float())
    torch.testing.assert_close(targets.v, returns.mean((1, 2)).repeat_interleave(2).float())
    first = sampled_targets(replace(ragged(), sampled=sampled), 1)
    assert first.q.tolist() == [0, 16, 64, 144] and first.v.tolist() == [8, 8, 104, 104]


def test_heads_learn_from_sampled_returns() -> None:
    """The recorded returns are used for evaluation only: if the samples say something else, the heads learn that."""
    rollouts, embedding = synthetic(60)
    several = known(rollouts, embedding, noise=0.0)
    trainer = HeadTrainer(embedding, FAST | {"returns_per_token": 4}, None)
    for rollout in several:
        trainer.step(rollout, trainer.targets(rollout))
        trainer.step(rollout, trainer.targets(rollout))
    rollout = rollouts[0]
    v, q = trainer.predict(rollout)
    expected = rollout.hidden[:, 0]
    assert torch.corrcoef(torch.stack([v, expected]))[0, 1] > 0.95
    assert torch.corrcoef(torch.stack([q - v, embedding[rollout.tokens, 0]]))[0, 1] > 0.9
    one, four = (
        fit(known(rollouts, embedding, noise=3.0), embedding, 0, **(FAST | {"returns_per_token": n})) for n in (1, 4)
    )
    assert four["v"] > one["v"] and four["q"] > one["q"], "more returns per token have less noise"


def fitted(value: float) -> dict[str, float]:
    return {"v": value, "q": value / 2, "advantage": -value}


class Measured:
    """Stands for the costly parts of the experiment, and counts their calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seeds, self.sampled, self.fits = list[int](), list[tuple[int, int]](), list[dict[str, Any]]()
        self.rollouts = synthetic(LAST + 1)[0]
        self.agent = SimpleNamespace(model=bigram_model(torch.zeros(VOCABULARY, VOCABULARY)))
        self.fails_at: int | None = None
        monkeypatch.setattr(module, "write_rollouts", self.write)
        monkeypatch.setattr(module, "fit", self.fit)
        monkeypatch.setattr(module, "sample_returns", self.sample)
        monkeypatch.setattr(module, "with_lower_states", lambda rollouts, model, layers: rollouts)
        monkeypatch.setattr(module, "ridge", lambda *args: {"state": 0.1, "state and token": 0.2})

    def write(self, seed: int) -> tuple[list[Rollout], Any]:
        self.seeds.append(seed)
        return self.rollouts, self.agent

    def sample(self, agent: Any, rollout: Rollout, reward: str, *, seed: tuple[int, int]) -> SampledReturns:
        self.sampled.append(seed)
        returns = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed[1]))
        return SampledReturns(torch.arange(3), torch.ones(3, 2, dtype=torch.long), returns)

    def fit(self, rollouts: Sequence[Rollout], embedding: Tensor, seed: int, **setting: Any) -> dict[str, float]:
        if len(self.fits) == self.fails_at:
            raise KeyboardInterrupt
        assert not setting["returns_per_token"] or all(rollout.sampled is not None for rollout in rollouts)
        self.fits.append(setting)
        return fitted(0.2 + 0.1 * seed)

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Forget earlier calls."""
        self.seeds, self.sampled, self.fits = [], [], []
        yield


def test_seeds_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured(monkeypatch)
    module.main(tmp_path, 1)
    module.main(tmp_path, 3)
    assert measured.seeds == [0, 1, 2] and len(measured.fits) == 3 * len(CHANGES)
    assert measured.sampled == [(seed, index) for seed in range(3) for index in range(LAST + 1)]
    stored = (tmp_path / "fit.json").read_text()
    assert [run["seed"] for run in json.loads(stored)["runs"]] == [0, 1, 2]
    half = 4.30265 * 0.1 / np.sqrt(3)  # the t interval of 0.2, 0.3 and 0.4
    page = (tmp_path / "fit.md").read_text()
    assert f"| two layers | 0.30 ({0.3 - half:.2f} to {0.3 + half:.2f}) |" in page
    assert f"{3 * 3 * (LAST + 1)} states, pooled over the seeds 0, 1, 2," in page
    module.main(tmp_path, 3)
    assert (tmp_path / "fit.json").read_text() == stored and measured.seeds == [0, 1, 2]


def test_finished_settings_are_kept_and_changed_ones_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured(monkeypatch)
    older = {name: value for name, value in DEFAULT.items() if name not in ("own_layers", "returns_per_token")}
    known = {"two layers": fitted(0.7), "lambda 1": fitted(0.6), "gone": fitted(0.5), "8 epochs": fitted(0.4)}
    changes = {"two layers": {"layers": 2}, "lambda 1": {"gae_lambda": 0.9}, "gone": {}, "8 epochs": {"epochs": 8}}
    ridges = {"100": {"state": 0.3, "state and token": 0.3}}
    run = {"seed": 0, "settings": known, "ridge": ridges}
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"settings": {"default": older, "changes": changes}, "runs": [run]}))
    module.main(tmp_path, 1)
    (stored,) = json.loads(path.read_text())["runs"]
    assert stored["settings"].keys() == CHANGES.keys() and stored["ridge"] == ridges
    kept = {name for name, scores in stored["settings"].items() if scores != fitted(0.2)}
    assert kept == {"two layers", "8 epochs"} and len(measured.fits) == len(CHANGES) - 2
    with measured.calls():
        monkeypatch.setitem(CHANGES, "two layers", {"layers": 2, "epochs": 3})
        module.main(tmp_path, 1)
        assert [setting["epochs"] for setting in measured.fits] == [3] and not measured.sampled
    with measured.calls():
        monkeypatch.setattr(module, "SAMPLES", 8)
        module.main(tmp_path, 1)
        assert {setting["returns_per_token"] for setting in measured.fits} == {1, 4}
        assert len(measured.sampled) == LAST + 1
    with measured.calls():
        name = next(name for name, change in CHANGES.items() if change.get("returns_per_token") == 1)
        monkeypatch.setitem(CHANGES, name, {"returns_per_token": 1})
        module.main(tmp_path, 1)
        assert [setting["returns_per_token"] for setting in measured.fits] == [1]
        assert len(measured.sampled) == LAST + 1  # the same returns are sampled again
    (again,) = json.loads(path.read_text())["runs"]
    assert again.keys() == {"seed", "settings", "ridge", "moments"} and len(again["moments"]) == 3 * (LAST + 1)


def test_an_interrupted_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    measured = Measured(monkeypatch)
    module.main(whole, 1)
    with measured.calls():
        measured.fails_at = 5
        with pytest.raises(KeyboardInterrupt):
            module.main(parts, 1)
        measured.fails_at = None
        module.main(parts, 1)
        assert len(measured.fits) == len(CHANGES) and len(measured.sampled) == LAST + 1
    assert (parts / "fit.json").read_text() == (whole / "fit.json").read_text()
    assert (parts / "fit.md").read_text() == (whole / "fit.md").read_text()
