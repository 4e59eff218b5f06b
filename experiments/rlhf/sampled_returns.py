"""Sample several returns per token. Estimate the explained variances of a perfect v and a perfect q."""

from collections.abc import Sequence

import numpy as np
import torch

from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.free_generation import Limits, generate
from agents.language_model.stream_reader import StreamReader
from agents.language_model.token_stream import EpisodeState, TokenStream
from experiments.rlhf.contrasts import INTERVAL_QUANTILES, Array, with_bounds
from experiments.rlhf.fit_rollouts import Rollout, SampledReturns

TOKENS, SAMPLES = 2, 4  # number of sampled tokens per state, and number of continuations of each token
CEILINGS = ("v", "q", "advantage")


@torch.no_grad()
def sample_returns(agent: LanguageModelAgent, rollout: Rollout, reward: str, *, seed: Sequence[int]) -> SampledReturns:
    """Sample returns at one random state of each text of a rollout."""
    assert rollout.texts is not None
    root, end_tokens = np.random.SeedSequence([*seed, 1]), agent.text_ends[1]  # an agent's seeds have two entries
    rng, reader = np.random.default_rng(root), StreamReader(agent.model)
    positions, streams = rollout.texts.positions.tolist(), rollout.texts.streams.tolist()
    choices_of_texts = [np.flatnonzero(rollout.rows.numpy() == row) for row in range(len(streams))]
    choices = [int(rng.choice(indices)) for indices in choices_of_texts]
    prefixes = [stream[: positions[choice] + 1] for stream, choice in zip(streams, choices, strict=True)]
    limits = [rollout.texts.max_tokens - int(rollout.columns[choice]) for choice in choices]
    rows = np.repeat(np.arange(len(streams)), TOKENS)
    sampled = continue_streams(reader, [prefixes[row] for row in rows], [1] * len(rows), end_tokens, root)
    remaining = [
        0 if stream.tokens[-1] in end_tokens else limits[row] - 1 for stream, row in zip(sampled, rows, strict=True)
    ]
    starts = [(rollout.texts.prompts[row], positions[choices_of_texts[row][0]] + 1) for row in rows]
    returns = returns_of(agent, [stream.tokens for stream in sampled], remaining, starts, reward, SAMPLES, root)
    tokens = [stream.tokens[len(prefixes[row])] for stream, row in zip(sampled, rows, strict=True)]
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
    starts: Sequence[tuple[str, int]],  # the prompt, and the index of the text's first token
    reward: str,
    samples: int,
    seed: np.random.SeedSequence,
) -> Array:
    """Continue N token sequences `samples` times each. Return the rewards [N, samples] of the texts."""
    end_tokens, reader = agent.text_ends[1], StreamReader(agent.model)
    # one call per sample, because the cache is copied whenever it gets a row
    continuations = [continue_streams(reader, streams, limits, end_tokens, seed) for _ in range(samples)]
    texts = [
        agent.stream_tokenizer.decode(
            [t for t in stream.tokens[first:] if t not in end_tokens], skip_special_tokens=True
        )
        for sample in continuations
        for stream, (_, first) in zip(sample, starts, strict=True)
    ]
    returns = scorer(reward)([prompt for prompt, _ in starts] * samples, texts)
    return np.reshape(returns, (samples, len(streams))).T.astype(np.float64)


@torch.no_grad()
def continue_streams(
    reader: StreamReader,
    streams: Sequence[Sequence[int]],
    limits: Sequence[int],
    end_tokens: frozenset[int],
    seed: np.random.SeedSequence,
) -> list[TokenStream]:
    """Continue streams in one batch. Stream i stops at an end token or after `limits[i]` new tokens."""
    continuations = [TokenStream(episode=index, gamma=1.0, tokens=list(tokens)) for index, tokens in enumerate(streams)]
    unfinished = [
        (EpisodeState(stream=stream, rng=np.random.default_rng(child)), Limits(max_tokens=limit, end_tokens=end_tokens))
        for stream, limit, child in zip(continuations, limits, seed.spawn(len(streams)), strict=True)
        if limit > 0
    ]
    reader.begin(len(unfinished))
    generate(reader, [state for state, _ in unfinished], [limit for _, limit in unfinished])
    for state, _ in unfinished:
        reader.release(state)
    return continuations


def ceilings(moments: Array) -> dict[str, dict[str, float]]:
    """Return a dict: name in `CEILINGS` -> explained variance with a 95% bootstrap interval."""
    rng = np.random.default_rng(0)
    resamples = (rng.integers(len(moments), size=len(moments)) for _ in range(2000))
    samples = np.array([_explained_shares(variance_components(moments[indices])) for indices in resamples])
    return with_bounds(
        CEILINGS, _explained_shares(variance_components(moments)), np.quantile(samples, INTERVAL_QUANTILES, axis=0)
    )


def moments_of(returns: Array) -> Array:
    """Return [S, 3] for S states: mean return, variance between tokens, variance within tokens."""
    token_means = returns.mean(2)
    return np.stack([token_means.mean(1), token_means.var(1, ddof=1), returns.var(2, ddof=1).mean(1)], axis=1)


def variance_components(moments: Array) -> Array:
    """Split the variance of returns: between states, between tokens, within tokens."""
    # Searle, Casella and McCulloch 1992, chapter 3; the estimates can be negative
    _, between, within = moments.mean(0)
    token = between - within / SAMPLES
    return np.array([moments[:, 0].var(ddof=1) - between / TOKENS, token, within])


def _explained_shares(components: Array) -> Array:
    """Return the explained variances in the order of `CEILINGS`."""
    state, token, noise = components
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Array = np.array([state, state + token, token]) / [components.sum(), components.sum(), token + noise]
    return shares
