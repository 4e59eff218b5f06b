"""The fit of the tilt, and Monte Carlo estimates of Q^pi, on models whose numbers can be computed by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.play.runner import EpisodeRunner
from agents.training.probe import PromptSpec
from experiments.rlhf import tilt_measures
from experiments.rlhf.contrasts import Array
from experiments.rlhf.tilt_measures import STATES, WEIGHTINGS, q_estimates, regressions, summary
from games import resolve
from tests.helpers.models import agent, bigram_model, tiny_model, tokenizer

PROMPTS = [
    "you see a",
    "go",
    "take",
    "you see",
    "drop a",
    "south",
    "red",
    "blue",
    "lamp",
    "a room",
    "north",
    "key",
    "you",
]
GAME = "completion?reward=letter:k"
TAU = 0.4
SIZE = len(tokenizer())


def visited(trained: Any, initial: Any, max_tokens: int = 4) -> tilt_measures.AgentTexts:
    player = agent(trained, mode="free")
    specs = [PromptSpec(resolve(f"{GAME}&max_tokens={max_tokens}")[0], prompt) for prompt in PROMPTS]
    with EpisodeRunner(specs, seed=0, parallel=3) as runner:
        list(runner.play(player, len(specs)))
    return tilt_measures.AgentTexts(
        trained=player,
        initial=agent(initial, mode="free"),
        prompts=PROMPTS,
        segments=player.take_segments(),
        reward="letter:k",
        max_tokens=max_tokens,
    )


def tables(noise: float, q_heads: int = 1) -> tuple[Tensor, Tensor, Any, Any]:
    """Return q and log pi_0 [V, V], and models whose policies are pi_0 exp(q / TAU + noise) and pi_0."""
    random = torch.Generator().manual_seed(0)
    start, q, rest = (torch.randn(SIZE, SIZE, generator=random) for _ in range(3))
    constant = torch.randn(SIZE, 1, generator=random)  # an action-independent part of q changes nothing
    trained = bigram_model(start + q / TAU + noise * rest, q_heads=q_heads)
    trained.heads.q[0].get_parameter("out.weight").data.copy_((q + constant).T)
    return q + constant, start.log_softmax(-1), trained, bigram_model(start)


def regression(states: Sequence[int], q: Tensor, ratio: Tensor, weights: Tensor) -> tuple[float, float, float, float]:
    """Return slope, R^2 and both standard deviations within states, by one regression with an intercept per state."""
    x, y, w = (table[list(states)].double().numpy() for table in (q, ratio, weights))
    x, y = (z - np.average(z, axis=1, weights=w)[:, None] for z in (x, y))
    root = np.sqrt(w).ravel()
    design, target = root * x.ravel(), root * y.ravel()
    (slope,), (rest,), *_ = np.linalg.lstsq(design[:, None], target, rcond=None)
    spreads = (np.sqrt(z @ z / len(states)) for z in (design, target))
    return float(slope), float(1 - rest / (target @ target)), *map(float, spreads)  # type: ignore[return-value]


def test_an_exact_tilt_is_recovered_in_every_weighting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilt_measures, "LIKELIEST", 20)
    *_, trained, initial = tables(noise=0.0)
    rows = regressions(visited(trained, initial))
    assert set(rows) == set(WEIGHTINGS)
    for row in rows.values():
        assert row["slope"] == pytest.approx(1 / TAU, rel=1e-4)
        assert row["r2"] == pytest.approx(1.0, abs=1e-6)
        assert row["spread_log_ratio"] == pytest.approx(row["spread_q"] / TAU, rel=1e-4)


@pytest.mark.parametrize("q_heads", [1, 2])
def test_a_noisy_tilt_is_that_of_a_weighted_regression(monkeypatch: pytest.MonkeyPatch, q_heads: int) -> None:
    """With two Q heads, q is their minimum."""
    monkeypatch.setattr(tilt_measures, "LIKELIEST", 20)
    q, start, trained, initial = tables(noise=1.0, q_heads=q_heads)
    if q_heads == 2:  # the heads take turns to be the lower one
        second = trained.heads.q[1].get_parameter("out.weight")
        second.data.copy_(q.T + torch.where(torch.arange(SIZE)[:, None] % 2 == 0, -1.0, 1.0))
        q = q + torch.where(torch.arange(SIZE) % 2 == 0, -1.0, 0.0)
    written = visited(trained, initial)
    states = [int(s.tokens[c.position]) for s in written.segments for c in s.choices]
    policy = trained.lm.lm_head.weight.T.detach().log_softmax(-1)
    lowest = start.topk(20).values[:, -1:]
    weights = {"sampled": policy.exp(), "initial": start.exp(), "likeliest": (start >= lowest).float()}
    rows = regressions(written)
    for name, weight in weights.items():
        weight = weight / weight.sum(1, keepdim=True)
        expected = regression(states, q, policy - start, weight)
        row = rows[name]
        assert (row["slope"], row["r2"], row["spread_q"], row["spread_log_ratio"]) == pytest.approx(expected, rel=1e-4)
        assert 0.2 < row["r2"] < 0.95
    if q_heads == 1:
        assert rows["initial"]["slope"] == pytest.approx(1 / TAU, abs=0.5)


def test_a_q_that_has_nothing_to_do_with_the_policy_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilt_measures, "LIKELIEST", SIZE)
    *_, trained, initial = tables(noise=1.0)
    random = torch.Generator().manual_seed(1)
    trained.heads.q[0].get_parameter("out.weight").data.copy_(torch.randn(SIZE, SIZE, generator=random))
    assert regressions(visited(trained, initial))["likeliest"]["r2"] < 0.02


def expected_returns(player: LanguageModelAgent, prompt: str, stream: Tensor, tokens: Array, *, more: bool) -> Array:
    """Return E[reward] of texts that continue `stream` with each of the tokens and, if `more`, one sampled token."""
    score, ends = scorer("letter:k"), player.text_ends[1]
    expected, opening = [], len(player.tokenizer.encode(prompt))
    for token in tokens.tolist():
        text = torch.cat([stream, torch.tensor([token])])
        with torch.no_grad():
            p = player.model.lm(input_ids=text[None]).logits[0, -1].double().softmax(-1)
        written = text[opening:].tolist()
        whole = [[*written, last] if more and last not in ends else written for last in range(SIZE)]
        rewards = score([prompt] * SIZE, [player.tokenizer.decode(ids, skip_special_tokens=True) for ids in whole])
        expected.append(float(p @ torch.tensor(rewards, dtype=torch.float64)))
    return np.array(expected)


def test_monte_carlo_estimates_are_unbiased_and_know_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In states in which at most one sampled token follows, the exact Q is a sum over the vocabulary."""
    monkeypatch.setattr(tilt_measures, "TEXTS_PER_TOKEN", 400)
    model, initial = tiny_model(), tiny_model(seed=7)
    written = visited(model, initial, max_tokens=3)
    player = written.trained
    rows = q_estimates(written)
    scores, places = [], set[int]()
    for number, (segment, row) in enumerate(zip(written.segments, rows, strict=True)):
        place = 4 * number % len(segment.choices)
        if place == 0:
            continue
        places.add(place)
        stream = torch.from_numpy(segment.tokens[: segment.choices[place].position + 1])
        with torch.no_grad():
            ours, theirs = (m.lm(input_ids=stream[None]).logits[0, -1].log_softmax(-1) for m in (model, initial))
            tokens = np.array([t for t in ours.topk(6).indices.tolist() if t not in player.text_ends[1]])
            hidden = model.hidden_states(stream[None], use_cache=False)[:, -1]
            q = model.evaluate_heads(hidden, torch.from_numpy(tokens)[None]).q_values
        assert q is not None
        np.testing.assert_allclose(row["log_ratio"], (ours - theirs)[tokens], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(row["q"], q[0, :, 0], rtol=1e-4, atol=1e-5)
        exact = expected_returns(player, PROMPTS[number], stream, tokens, more=place == 1)
        if place == 2:
            np.testing.assert_allclose(row["monte_carlo"], exact)
            assert not row["error"].any()
        else:
            scores += ((row["monte_carlo"] - exact) / row["error"].clip(1e-3)).tolist()
    assert places == {1, 2} and len(scores) > 12
    assert np.abs(np.mean(scores)) < 0.6
    assert 0.6 < np.std(scores) < 1.4


def test_states_without_two_likely_tokens_give_undefined_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilt_measures, "LIKELY_TOKENS", 1)
    texts = visited(tiny_model(), tiny_model(seed=7))
    states = q_estimates(texts)
    assert states == []
    measures = summary(states)
    assert measures.keys() == set(tilt_measures.MEASURES)
    assert all(np.isnan(value) for estimate in measures.values() for value in estimate.values())


def sampled_states(rng: np.random.Generator, states: int) -> list[dict[str, Array]]:
    """Return states whose Q^pi has a standard deviation of 0.3 and a correlation of 0.6 with q."""
    rows = []
    for _ in range(states):
        z, other = rng.normal(size=(2, 6))
        q = 0.6 * z + 0.8 * other
        samples = 0.3 * z[:, None] + 2.0 * rng.normal(size=(6, 24))
        error = samples.std(1, ddof=1) / np.sqrt(24)
        rows.append({"monte_carlo": samples.mean(1), "error": error, "q": q, "log_ratio": -q})
    return rows


def test_the_intervals_cover_in_simulations() -> None:
    rng, covered, simulations = np.random.default_rng(0), {"spread": 0, "correlation": 0, "log_ratio": 0}, 100
    correlation = 0.6 * 0.3 / np.hypot(0.3, 2.0 / np.sqrt(24))
    truth = {"spread": 0.3, "correlation": correlation, "log_ratio": -correlation}
    widths = []
    for _ in range(simulations):
        measures = summary(sampled_states(rng, STATES))
        for name, value in truth.items():
            covered[name] += measures[name]["low"] <= value <= measures[name]["high"]
        widths.append(measures["correlation"]["high"] - measures["correlation"]["low"])
    assert all(0.88 <= count / simulations <= 0.99 for count in covered.values()), covered
    assert 0.1 < np.mean(widths) < 0.4
