"""The post's prisoner's dilemma by `reproduce` and by `train`: the same update, and the same learning curve."""

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
from experiments.reproduce.ipd_trials.trial import Recipe, Trials
from experiments.reproduce.ipd_trials.trunk import S, T
from games.ipd import PAYOFFS
from tests.helpers.dilemma import first, generic_names


def trainer(place: Path, **settings: Any) -> Trainer:
    asked = {"game": "ipd", "trunk": "pico", "seed": 5, "save_every": 10_000, "iterations": 10_000} | settings
    return make_trainer(presets.resolve(asked), place / "run")


def recorded(trials: Trials) -> RolloutBatch:
    """Return the next games of the first trial as segments of `train`, without changing the trials."""
    state = trials.random.state()
    played, heads = trials.model.generate(trials.last, trials.random)
    trials.random.load_state(state)
    tokens, (logprobs, values, q_values) = played[0].numpy(), (head[0] for head in heads)
    payoff, segments = PAYOFFS[trials.recipe.payoff], []
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
                discount=trials.recipe.gamma,
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
    trials = Trials(Recipe(dropout=0.0, **recipe), [np.random.SeedSequence(seed) for seed in (2, 3)])
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trials.model.weights.values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    q_heads = {"train_q": True} if recipe.get("optimizer") == "ppo" else {}
    same = {name: value for name, value in recipe.items() if name != "detach_heads"}
    generic = trainer(tmp_path, dropout=0.0, **{"optimizer": "actde"} | same | settings | q_heads)
    generic.updater.optimizer = trials.optimizer
    parameters = dict(generic.updater.model.named_parameters())
    with torch.no_grad():
        parameters["lm.transformer.wpe.weight"][:T] = first(trials.model)["wpe"]
        for name, weight in generic_names(trials.model).items():
            parameters[name].copy_(weight)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    generic.updater.model.train()
    generic.updater.learn(recorded(trials), np.random.default_rng(0))
    trials.step()
    wanted = {name: weight.detach() for name, weight in generic_names(trials.model).items()}
    moved = max(float((parameters[name].detach() - before[name]).abs().max()) for name in wanted)
    assert moved > 1e-3  # four steps of AdamW at 5e-4
    for name, weight in wanted.items():
        torch.testing.assert_close(parameters[name].detach(), weight, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.slow
def test_both_paths_draw_the_same_curve(tmp_path: Path) -> None:
    """160 gradient steps with the post's settings, dropout included, against three trials of the batch."""
    rollouts = 40
    curve = []
    for metrics in trainer(tmp_path, optimizer="actde", iterations=rollouts).run():
        curve.append([metrics[f"share_{name}"] for name in ("alternate", "cooperate", "defect")])
    trials = Trials(Recipe(), [np.random.SeedSequence(seed) for seed in range(3)])
    for _ in range(rollouts):
        trials.step()
    found, wanted = np.array(curve), trials.curves[:, :, :3].numpy()
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0, ddof=1)
    assert middle[-1, 0] > 0.8 > 0.6 > middle[0, 0]
    np.testing.assert_array_less(np.abs(found - middle), 0.03 + 5 * spread)
    np.testing.assert_array_less(np.abs(found - middle).mean(axis=0), 0.03)
