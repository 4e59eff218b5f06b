"""Sampled returns: batched continuations of prefixes, and variance components that are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.free_generation import Limits
from agents.language_model.stream_reader import StreamReader
from agents.language_model.token_stream import EpisodeState
from agents.play.runner import EpisodeRunner
from agents.training.probe import PromptSpec
from experiments.rlhf import sampled_returns as module
from experiments.rlhf.contrasts import Array
from experiments.rlhf.fit_rollouts import Rollout, _rollout
from experiments.rlhf.sampled_returns import (
    ceilings,
    continue_streams,
    moments_of,
    sample_returns,
    variance_components,
)
from games import resolve
from tests.helpers.models import KINDS, Kind, agent, tiny_model

PROMPTS = ("go", "take", "drop a", "south", "red key", "you see a blue lamp", "north")
LIMIT = 5
REWARD = "length,letter:r"


@pytest.mark.parametrize("kind", KINDS)
def test_batched_continuations_have_the_logprobs_of_single_streams(kind: Kind) -> None:
    """The streams differ in length and share prefixes. Two have a limit of 0 tokens."""
    model = tiny_model(kind)
    streams = [[3, 4], [3, 4], [3, 4, 5, 6, 7, 8, 9], [10], [3, 4, 5], [11, 3, 4, 5], [6, 7, 8]]
    limits = [6, 6, 3, 8, 0, 1, 0]
    reader, seed = StreamReader(model), np.random.SeedSequence(1)
    for _ in range(2):  # the second call finds the rows of the first one
        continuations = continue_streams(reader, streams, limits, frozenset({0}), seed)
        assert continuations[0].tokens != continuations[1].tokens, "each stream has its own generator"
        for stream, prefix, limit in zip(continuations, streams, limits, strict=True):
            written = stream.tokens[len(prefix) :]
            assert stream.tokens[: len(prefix)] == prefix
            assert len(written) == limit or (written[-1] == 0 and len(written) < limit)
            with torch.no_grad():
                logprobs = model.lm(input_ids=torch.tensor([stream.tokens])).logits[0].log_softmax(-1)
            expected = [float(logprobs[len(prefix) - 1 + n, token]) for n, token in enumerate(written)]
            assert [choice.logprob for choice in stream.choices] == pytest.approx(expected, abs=1e-4)


def played() -> tuple[LanguageModelAgent, Rollout]:
    player = agent(tiny_model(), mode="free")
    spec = resolve(f"completion?reward={REWARD}&max_tokens={LIMIT}")[0]
    with EpisodeRunner([PromptSpec(spec, text) for text in PROMPTS], seed=0, parallel=3) as runner:
        list(runner.play(player, len(PROMPTS)))
    return player, _rollout(player, PROMPTS, LIMIT)


def test_a_continuation_as_recorded_has_the_recorded_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """This fails if a prefix, a limit, a prompt or the start of a text is that of another text or choice."""
    player, rollout = played()
    assert rollout.texts is not None
    recorded = []
    for row, stream in enumerate(rollout.texts.streams.tolist()):
        own = rollout.rows == row
        start = int(rollout.texts.positions[own][0]) + 1
        recorded.append(stream[:start] + rollout.tokens[own].tolist())

    def replay(reader: Any, states: Sequence[EpisodeState], limits: Sequence[Limits]) -> None:
        for state, limit in zip(states, limits, strict=True):
            tokens = state.stream.tokens
            (text,) = (text for text in recorded if text[: len(tokens)] == tokens)
            new = text[len(tokens) :]
            assert limit.max_tokens == 1 or len(new) == limit.max_tokens or new[-1] in limit.end_tokens
            tokens += new[: limit.max_tokens]

    def score(prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Add the index of the prompt, because the terms of `REWARD` ignore it."""
        rewards = scorer(REWARD)(prompts, texts)
        return [PROMPTS.index(prompt) + reward for prompt, reward in zip(prompts, rewards, strict=True)]

    monkeypatch.setattr(module, "generate", replay)
    monkeypatch.setattr(module, "scorer", lambda reward: {REWARD: score}[reward])
    rewards = rollout.rewards.sum(1).double() + torch.arange(len(PROMPTS))
    assert len(set(rewards.tolist())) >= 3
    places = set[int]()
    for seed in range(8):
        sampled = sample_returns(player, rollout, REWARD, seed=(0, seed))
        assert rollout.rows[sampled.choices].tolist() == list(range(len(PROMPTS)))
        torch.testing.assert_close(sampled.tokens, rollout.tokens[sampled.choices][:, None].expand(-1, 2))
        torch.testing.assert_close(sampled.returns, rewards[:, None, None].expand(-1, 2, 4), rtol=1e-6, atol=1e-6)
        places |= set(rollout.columns[sampled.choices].tolist())
    assert places == set(range(LIMIT)), "every position of a text is chosen"


def test_tokens_are_samples_of_the_policy_and_endings_have_one_return() -> None:
    player, rollout = played()
    ends, counts = player.text_ends[1], dict[int, int]()
    ended = last = 0
    first = sample_returns(player, rollout, REWARD, seed=(3, 0))
    again = sample_returns(player, rollout, REWARD, seed=(3, 0))
    assert torch.equal(first.returns, again.returns) and torch.equal(first.tokens, again.tokens)
    chosen = 0
    for seed in range(150):
        sampled = sample_returns(player, rollout, REWARD, seed=(3, seed))
        spread = sampled.returns.std(2)
        over = torch.tensor([[token in ends for token in tokens] for tokens in sampled.tokens.tolist()])
        full = (rollout.columns[sampled.choices] == LIMIT - 1)[:, None].expand_as(over)
        assert not spread[over | full].any()
        ended, last = ended + int(over.sum()), last + int(full.sum())
        if sampled.choices[0] == 0:  # the state after the first prompt
            chosen += 2
            for token in sampled.tokens[0].tolist():
                counts[token] = counts.get(token, 0) + 1
    assert ended and last and chosen > 40
    with torch.no_grad():
        p = player.model.all_logprobs(rollout.hidden[:1])[0].exp()
    likeliest = int(p.argmax())
    error = float((p[likeliest] * (1 - p[likeliest]) / chosen) ** 0.5)
    assert counts[likeliest] / chosen == pytest.approx(float(p[likeliest]), abs=4 * error)


def nested(rng: np.random.Generator, states: int, components: Sequence[float]) -> Array:
    """Return returns [states, 2, 4] with these variances of states, tokens and continuations."""
    scales = np.sqrt(components)
    shapes = ((states, 1, 1), (states, 2, 1), (states, 2, 4))
    return np.asarray(0.5 + sum(scale * rng.normal(size=shape) for scale, shape in zip(scales, shapes, strict=True)))


def test_variance_components_are_recovered() -> None:
    returns = nested(np.random.default_rng(1), 20_000, (0.5, 0.2, 1.0))
    np.testing.assert_allclose(variance_components(moments_of(returns)), (0.5, 0.2, 1.0), atol=0.03)
    bounds = ceilings(moments_of(returns[:2000]))
    for name, expected in (("v", 0.5 / 1.7), ("q", 0.7 / 1.7), ("advantage", 0.2 / 1.2)):
        assert bounds[name]["low"] < expected < bounds[name]["high"]
        assert bounds[name]["low"] < bounds[name]["value"] < bounds[name]["high"]
        assert 0.02 < bounds[name]["high"] - bounds[name]["low"] < 0.15


def test_the_bounds_are_undefined_if_a_resample_has_no_variance() -> None:
    returns = np.stack([np.zeros((2, 4)), np.tile([0.0, 1.0], (2, 2)), np.ones((2, 4))])
    bounds = ceilings(moments_of(returns))
    assert np.isfinite(bounds["v"]["value"])
    assert np.isnan([bounds["v"]["low"], bounds["v"]["high"]]).all()


@pytest.mark.parametrize("components", [(0.0, 0.0, 1.0), (0.3, 0.0, 1.0), (0.0, 0.4, 1.0)])
def test_variance_components_are_unbiased(components: tuple[float, float, float]) -> None:
    """Also components of 0 are, so some estimates are negative."""
    rng = np.random.default_rng(0)
    estimates = np.array([variance_components(moments_of(nested(rng, 12, components))) for _ in range(3000)])
    errors = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - components) < 3.5 * errors).all() and (errors < 0.01).all()
    assert (estimates.min(0)[[c == 0 for c in components]] < 0).all()


def test_intervals_cover_the_truth() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(40):
        bounds = ceilings(moments_of(nested(rng, 150, (0.2, 0.1, 1.0))))["advantage"]
        covered += bounds["low"] < 0.1 / 1.1 < bounds["high"]
    assert covered >= 34
