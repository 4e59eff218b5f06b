"""The fit of q on texts of a fixed policy: returns by hand, and rollouts whose explained variance is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.protocol import AgentError
from experiments.rlhf import fit as module
from experiments.rlhf.fit import CHANGES, DEFAULT, LAST, Rollout, fit, ridge
from tests.helpers.models import bigram_model

WIDTH, VOCABULARY, TEXTS = 6, 12, 256
SHARES = {"state": 0.4, "token": 0.3}
"""Shares of the returns' variance that a linear function of the hidden state explains, and that the token explains."""


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
    explained = module._explained(rollout, v, q)
    assert explained == pytest.approx((1 - 4 / 9, 1 - 1 / 9, 1 - 1 / 4))  # the rest has 1 + v, and 1 + q, at one choice
    shifted = module._explained(rollout, v + 5, q - 5)
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
        part = {"rows": torch.arange(TEXTS), "columns": torch.zeros(TEXTS, dtype=torch.long), "tokens": tokens}
        made.append(
            Rollout(hidden=hidden, rewards=returns[:, None], mask=torch.ones(TEXTS, 1, dtype=torch.bool), **part)
        )
    return made, embedding


FAST = DEFAULT | {"q_lr": 0.02, "value_lr": 0.02}


@pytest.mark.parametrize("change", [{}, {"q_heads": 2}, {"replay": 3}, {"dueling": False}])
def test_heads_explain_the_known_share(change: dict[str, Any]) -> None:
    """v can explain the state's share, q both shares, and q - v the token's share of what v leaves unexplained."""
    rollouts, embedding = synthetic(60)
    found = fit(rollouts, embedding, 0, **(FAST | change))
    state, both = SHARES["state"], sum(SHARES.values())
    assert found["v"] == pytest.approx(state, abs=0.04)
    assert found["q"] == pytest.approx(both, abs=0.06)
    assert found["advantage"] == pytest.approx(SHARES["token"] / (1 - state), abs=0.08)


def test_a_rollout_is_predicted_before_it_is_learned() -> None:
    """Heads that learn a rollout explain its noise. Predictions of new noise explain nothing."""
    rollouts, embedding = synthetic(24, noise_only=True)
    found = fit(
        [Rollout(**{n: getattr(r, n)[:12] for n in Rollout.__slots__}) for r in rollouts],
        embedding,
        0,
        **(FAST | {"epochs": 20}),
    )
    assert found["v"] < 0 and found["q"] < 0


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
    found = ridge(rollouts, embedding, 1.0)
    assert found["state"] == pytest.approx(SHARES["state"], abs=0.04)
    assert found["state and token"] == pytest.approx(sum(SHARES.values()), abs=0.04)
    assert ridge(rollouts, embedding, 1e9)["state"] == pytest.approx(0.0, abs=1e-3), "a large penalty leaves the mean"
    noise, embedding = synthetic(LAST + 1, noise_only=True)
    assert ridge(noise, embedding, 1e-3)["state and token"] < 0.01, "the last rollouts are not trained on"


def fitted(value: float) -> dict[str, float]:
    return {"v": value, "q": value / 2, "advantage": -value}


def test_seeds_are_added_and_results_with_other_settings_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, rollouts = list[int](), synthetic(LAST + 1)[0]
    model = bigram_model(torch.zeros(VOCABULARY, WIDTH).T @ torch.zeros(VOCABULARY, WIDTH))

    def write(seed: int) -> tuple[list[Rollout], Any]:
        seeds.append(seed)
        return rollouts, model

    monkeypatch.setattr(module, "write_rollouts", write)
    monkeypatch.setattr(module, "fit", lambda *args, **setting: fitted(0.2 + 0.1 * args[2]))
    monkeypatch.setattr(module, "ridge", lambda *args: {"state": 0.1, "state and token": 0.2})
    module.main(tmp_path, 1)
    module.main(tmp_path, 3)
    assert seeds == [0, 1, 2]
    stored = (tmp_path / "fit.json").read_text()
    assert [run["seed"] for run in json.loads(stored)["runs"]] == [0, 1, 2]
    half = 4.30265 * 0.1 / np.sqrt(3)  # the t interval of 0.2, 0.3 and 0.4
    page = (tmp_path / "fit.md").read_text()
    assert f"| two layers | 0.30 ({0.3 - half:.2f} to {0.3 + half:.2f}) |" in page
    monkeypatch.setitem(CHANGES, "two layers", {"layers": 2, "epochs": 3})
    with pytest.raises(AgentError, match="holds results with other settings"):
        module.main(tmp_path, 4)
    assert (tmp_path / "fit.json").read_text() == stored
