"""The post's prisoner's dilemma by the fast path and by `train`: the same update, and the same learning curve."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.language_model.token_stream import Choice, Segment
from agents.training import presets
from agents.training.factory import make_trainer
from agents.training.rollout_batch import RolloutBatch
from agents.training.trainer import Trainer
from experiments.reproduce.ipd_kernel.kernel import S, T
from experiments.reproduce.ipd_kernel.trial import Recipe, Trial
from games.ipd import PAYOFFS
from tests.helpers.dilemma import generic_names


def trainer(place: Path, **settings: Any) -> Trainer:
    asked = {"game": "ipd", "trunk": "pico", "seed": 5, "save_every": 10_000, "iterations": 10_000} | settings
    return make_trainer(presets.resolve(asked), place / "run")


def recorded(trial: Trial) -> RolloutBatch:
    """The trial's next games, played by the fast path, as segments of the generic path; the trial stays as it was."""
    state, last = trial.random.state.copy(), trial.last.copy()
    tokens, logprobs, values, q_values = trial.model.generate(trial.last, trial.random)
    trial.random.state[:], trial.last = state, last
    payoff, segments = PAYOFFS[trial.recipe.payoff], []
    for s in range(S):
        choices = tuple(
            Choice(
                position=t,
                turn=t,
                alternatives=(0, 1),
                chosen=int(tokens[t + 1, s]),
                logprob=float(logprobs[tokens[t + 1, s], t, s]),
                value=float(values[t, s]),
                q_value=float(q_values[tokens[t + 1, s], t, s]),
                entropy=0.0,
                reward=payoff[tokens[t + 1, s]][tokens[t, s]],
                discount=trial.recipe.gamma,
                next_value=float(values[t + 1, s]),
            )
            for t in range(T - 1)
        )
        segments.append(Segment(episode=s, tokens=tokens[:-1, s].copy(), choices=choices))
    return RolloutBatch(segments, credit="token")


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ({}, {}),
        ({"optimizer": "ppo", "gae_lambda": 0.5}, {}),
        ({"whitening": "batch", "value_loss": "ilql", "q_lr": 2e-3}, {}),
        ({"detach_heads": True, "weight_decay": 0.0}, {"detach_value": True, "detach_q": True}),
    ],
    ids=["actde", "ppo", "whitened-ilql-q", "detached"],
)
def test_one_rollout_teaches_both_the_same(recipe: dict[str, Any], settings: dict[str, Any], tmp_path: Path) -> None:
    trial = Trial(Recipe(dropout=0.0, **recipe), np.random.SeedSequence(2))
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trial.model.weights.values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    q_heads = {"train_q": True} if recipe.get("optimizer") == "ppo" else {}
    same = {name: value for name, value in recipe.items() if name != "detach_heads"}
    generic = trainer(tmp_path, dropout=0.0, **{"optimizer": "actde"} | same | settings | q_heads)
    generic.updater.optimizer = trial.optimizer
    parameters = dict(generic.updater.model.named_parameters())
    with torch.no_grad():
        parameters["lm.transformer.wpe.weight"][:T] = trial.model.weights["wpe"]
        for name, weight in generic_names(trial.model).items():
            parameters[name].copy_(weight)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    generic.updater.model.train()
    generic.updater.learn(recorded(trial), np.random.default_rng(0))
    trial.step()
    wanted = {name: weight.detach() for name, weight in generic_names(trial.model).items()}
    moved = max(float((parameters[name].detach() - before[name]).abs().max()) for name in wanted)
    assert moved > 1e-3  # four steps of AdamW at 5e-4
    for name, weight in wanted.items():
        torch.testing.assert_close(parameters[name].detach(), weight, rtol=1e-3, atol=2e-5, msg=name)


def test_both_paths_draw_the_same_curve(tmp_path: Path) -> None:
    """160 gradient steps with the post's settings, dropout included, against three trials of the fast path."""
    rollouts = 40
    curve = []
    for metrics in trainer(tmp_path, optimizer="actde", iterations=rollouts).run():
        curve.append([metrics[f"share_{name}"] for name in ("alternate", "cooperate", "defect")])
    trials = []
    for seed in range(3):
        trial = Trial(Recipe(), np.random.SeedSequence(seed))
        trials.append([trial.step()[:3] for _ in range(rollouts)])
    found, wanted = np.array(curve), np.array(trials)
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0, ddof=1)
    assert middle[-1, 0] > 0.8 > 0.6 > middle[0, 0]
    np.testing.assert_array_less(np.abs(found - middle), 0.03 + 5 * spread)
    np.testing.assert_array_less(np.abs(found - middle).mean(axis=0), 0.03)
