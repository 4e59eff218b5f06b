"""Rejection sampling: which episodes are imitated, and how."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.play.episode import Episode, Step
from agents.protocol import Decision
from agents.training.dagger import best_episodes, label_best_episodes
from agents.training.rollout_batch import RolloutBatch
from tests.agents.training.test_dagger import POLICY_ONLY, cross_entropy, plain_logprobs, played
from tests.helpers.models import agent, tiny_model
from tests.helpers.updates import Kept, assert_same_gradients, gradients, learn, updater


def episode(index: int, rewards: Sequence[float], *, game: str = "g", won: bool = False) -> Episode:
    steps = tuple(
        Step(observation="", admissible_commands=("a",), decision=Decision(command="a"), reward=r, score=0.0)
        for r in rewards
    )
    ends: dict[str, Any] = {"score": sum(rewards), "max_score": 3.0, "terminated": True, "truncated": False}
    return Episode(
        index=index, game=game, seed=0, steps=steps, final_observation="", won=won, lost=False, moves=len(steps), **ends
    )


def test_which_episodes_are_kept_by_hand() -> None:
    four = [episode(0, [0, 2]), episode(1, [2]), episode(2, [1]), episode(3, [1])]
    assert best_episodes(four, top_fraction=0.25, gamma=0.5) == {1}, "the same reward sooner is better"
    assert best_episodes(four, top_fraction=0.25, gamma=1.0) == {0, 1}, "of two equal ones both"
    assert best_episodes(four, top_fraction=0.75, gamma=1.0) == {0, 1}, "never the worst"
    assert best_episodes(four, top_fraction=1.0, gamma=1.0) == {0, 1, 2, 3}
    equal, alone = [episode(4, [0, 0], game="h"), episode(5, [0], game="h")], episode(6, [9], game="alone")
    assert best_episodes([*four, *equal, alone], top_fraction=0.5, gamma=1.0) == {0, 1}, "each game for itself"
    assert best_episodes([*four, *equal, replace(alone, won=True)], top_fraction=0.25, gamma=0.5) == {1, 6}


def test_only_kept_episodes_have_a_policy_gradient() -> None:
    model = tiny_model()
    player = agent(model)
    episodes = played(player, 8)
    segments = player.take_segments()
    found, metrics = label_best_episodes(segments, episodes, top_fraction=0.25, gamma=0.5)
    kept = best_episodes(episodes, top_fraction=0.25, gamma=0.5)
    assert 0 < len(kept) < 8 and metrics == {"kept": len(kept) / 8}
    for before, after in zip(segments, found, strict=True):
        assert all(c.label == (c.chosen if after.episode in kept else None) for c in after.choices)
        assert np.array_equal(before.tokens, after.tokens)
    loss = cross_entropy(model, found)
    rollout = RolloutBatch(found, credit="token")
    measures = learn(updater(model, "rejection", torch_optimizer=Kept(model), learning=POLICY_ONLY), rollout)
    assert measures["policy_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)


def test_rejection_that_keeps_all_imitates_the_play() -> None:
    model = tiny_model()
    player = agent(model)
    episodes = played(player, 5)
    segments = player.take_segments()
    everything, _ = label_best_episodes(segments, episodes, top_fraction=1.0, gamma=0.5)
    (found,) = gradients(model, RolloutBatch(everything, credit="token"), "rejection", learning=POLICY_ONLY)
    rows = plain_logprobs(model, segments)
    chosen = [choice.chosen for segment in segments for choice in segment.choices]
    loss = -torch.stack([row[index] for row, index in zip(rows, chosen, strict=True)]).mean()
    model.zero_grad()
    torch.autograd.backward(loss)
    wanted = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert_same_gradients({n: g for n, g in found.items() if n in wanted}, wanted)


def test_generated_text_can_be_kept_too() -> None:
    model = tiny_model()
    player = agent(model, mode="free", max_command_tokens=4)
    episodes = played(player, 3)
    found, _ = label_best_episodes(player.take_segments(), episodes, top_fraction=1.0, gamma=0.5)
    measures = learn(updater(model, "rejection", torch_optimizer=Kept(model)), RolloutBatch(found, credit="token"))
    chosen = [choice.logprob for segment in found for choice in segment.choices]
    assert measures["policy_loss"] == pytest.approx(-np.mean(chosen), rel=1e-3)
