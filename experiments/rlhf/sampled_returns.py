"""Sample several returns per token, and estimate the share of their variance that a perfect v and q would explain.

The samples are nested: continuations within tokens, and tokens within states. By a nested analysis of variance, the
variance of a return is the sum of three components (Searle, Casella and McCulloch 1992, chapter 3):

* Var V^pi(s), between states
* Var (Q^pi(s, a) - V^pi(s)), between the tokens of a state
* the variance between the continuations of a token
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.free_generation import Limits, generate
from agents.language_model.stream_reader import StreamReader
from agents.language_model.token_stream import EpisodeState, TokenStream
from experiments.rlhf.fit_rollouts import Rollout, SampledReturns

Array = NDArray[np.float64]
TOKENS, SAMPLES = 2, 4
"""Number of sampled tokens per state, and number of continuations of each token."""
CEILINGS = ("v", "q", "advantage")


@torch.no_grad()
def sample_returns(agent: LanguageModelAgent, rollout: Rollout, reward: str, *, seed: Sequence[int]) -> SampledReturns:
    """Sample returns at one random state of each text. The state is uniform among the states of the text.

    `agent` samples `TOKENS` next tokens and `SAMPLES` continuations of each. A token that ends the text, or that is the
    last one that the limit allows, has no continuation. Its returns are then all equal.

    Args:
        reward: name of the reward.
        seed: seed of the samples. No other random state is used.
    """
    assert rollout.texts is not None
    root, ends = np.random.SeedSequence([*seed, 1]), agent.text_ends[1]  # an agent's seeds have two entries
    rng, reader = np.random.default_rng(root), StreamReader(agent.model)
    positions, streams = rollout.texts.positions.tolist(), rollout.texts.streams.tolist()
    own = [np.flatnonzero(rollout.rows.numpy() == row) for row in range(len(streams))]
    choices = [int(rng.choice(indices)) for indices in own]
    prefixes = [stream[: positions[choice] + 1] for stream, choice in zip(streams, choices, strict=True)]
    limits = [rollout.texts.max_tokens - int(rollout.columns[choice]) for choice in choices]
    rows = np.repeat(np.arange(len(streams)), TOKENS)
    drawn = continued(reader, [prefixes[row] for row in rows], [1] * len(rows), ends, root)
    left = [0 if s.tokens[-1] in ends else limits[row] - 1 for s, row in zip(drawn, rows, strict=True)]
    first = [positions[indices[0]] + 1 for indices in own]
    starts = [(rollout.texts.prompts[row], first[row]) for row in rows]
    returns = returns_of(agent, [s.tokens for s in drawn], left, starts, reward, SAMPLES, root)
    tokens = [stream.tokens[len(prefixes[row])] for stream, row in zip(drawn, rows, strict=True)]
    return SampledReturns(
        choices=torch.tensor(choices),
        tokens=torch.tensor(tokens).view(-1, TOKENS),
        returns=torch.from_numpy(returns).view(-1, TOKENS, SAMPLES),
    )


@torch.no_grad()
def returns_of(
    agent: LanguageModelAgent,
    streams: Sequence[Sequence[int]],
    limits: Sequence[int],
    starts: Sequence[tuple[str, int]],
    reward: str,
    samples: int,
    seed: np.random.SeedSequence,
) -> Array:
    """Continue each of N streams K = `samples` times, and return the rewards [N, K] of the completed texts.

    Args:
        streams: N lists of token ids, each of a prompt and the beginning of a text.
        limits: largest number of sampled tokens of each stream.
        starts: a tuple for each stream: its prompt, and the index of the first token of its text.
        reward: name of the reward.
        seed: seed of the samples.
    """
    ends, reader = agent.text_ends[1], StreamReader(agent.model)
    # one call per sample, because the cache is copied whenever it gets a row
    written = [continued(reader, streams, limits, ends, seed) for _ in range(samples)]
    texts = [
        agent.stream_tokenizer.decode([t for t in stream.tokens[first:] if t not in ends], skip_special_tokens=True)
        for sample in written
        for stream, (_, first) in zip(sample, starts, strict=True)
    ]
    returns = scorer(reward)([prompt for prompt, _ in starts] * samples, texts)
    return np.reshape(returns, (samples, len(streams))).T.astype(np.float64)


@torch.no_grad()
def continued(
    reader: StreamReader,
    streams: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: frozenset[int],
    seed: np.random.SeedSequence,
) -> list[TokenStream]:
    """Continue each stream by sampled tokens. All streams form one batch.

    A stream ends at one of the tokens `ends`, or at the number of tokens in `limits`, which may be 0. The returned
    streams hold the sampled tokens as choices, with their log-probabilities. Each stream has a random-number generator
    of its own, spawned from `seed`.
    """
    continuations = [TokenStream(episode=index, gamma=1.0, tokens=list(tokens)) for index, tokens in enumerate(streams)]
    unfinished = [
        (EpisodeState(stream=stream, rng=np.random.default_rng(child), prompt=""), Limits(max_tokens=limit, ends=ends))
        for stream, limit, child in zip(continuations, limits, seed.spawn(len(streams)), strict=True)
        if limit > 0
    ]
    reader.begin(len(unfinished))
    generate(reader, [state for state, _ in unfinished], [limit for _, limit in unfinished])
    for state, _ in unfinished:
        reader.release(state)
    return continuations


def ceilings(moments: Array) -> dict[str, dict[str, float]]:
    """Return the explained variances of perfect predictions, with 95% bootstrap confidence intervals over states.

    `v` and `q` are shares of the variance of the return. `advantage` is the share, explained by q - v, of the variance
    that v leaves unexplained.

    Args:
        moments: the result [S, 3] of `moments_of` for S >= 2 states with `TOKENS` tokens and `SAMPLES` continuations.
    """
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(moments), size=len(moments)) for _ in range(2000))
    samples = np.array([_explained(_components(moments[draw], TOKENS, SAMPLES)) for draw in draws])
    low, high = np.quantile(samples, (0.025, 0.975), axis=0)
    values = _explained(_components(moments, TOKENS, SAMPLES))
    rows = zip(CEILINGS, values.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: {"value": value, "low": a, "high": b} for name, value, a, b in rows}


def variance_components(returns: Array) -> Array:
    """Return the components of the variance of returns [S, J, K]: (1) states, (2) tokens, (3) continuations.

    The estimates are unbiased, so they can be negative.
    """
    return _components(moments_of(returns), *returns.shape[1:])


def moments_of(returns: Array) -> Array:
    """Return three numbers per state [S, 3], from returns [S, J, K] of S states, J tokens and K continuations.

    The numbers are (1) the mean of all returns, (2) the variance of the tokens' mean returns, and (3) the variance of a
    token's returns, averaged over the tokens. J and K must be at least 2. The variances are unbiased sample variances.
    """
    of_tokens = returns.mean(2)
    return np.stack([of_tokens.mean(1), of_tokens.var(1, ddof=1), returns.var(2, ddof=1).mean(1)], axis=1)


def _components(moments: Array, tokens: int, samples: int) -> Array:
    """Return the variance components [3] from the result [S, 3] of `moments_of` for J = `tokens` and K = `samples`."""
    _, between, within = moments.mean(0)
    token = between - within / samples
    return np.array([moments[:, 0].var(ddof=1) - between / tokens, token, within])


def _explained(components: Array) -> Array:
    """Return the explained variances [3] of perfect predictions, ordered as `CEILINGS`, from the components [3]."""
    state, token, noise = components
    variances = np.array([[state, state + token, token], [components.sum(), components.sum(), token + noise]])
    with np.errstate(invalid="ignore", divide="ignore"):
        explained: Array = variances[0] / variances[1]
    return explained
