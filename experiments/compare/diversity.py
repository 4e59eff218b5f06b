"""Effective numbers of strategies (Hill, 1973), and pass@k.

An effective number is exp(H), where H is the entropy over strategies in nats.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

T = TypeVar("T", bound=Hashable)
Floats = NDArray[np.float64]
CONFIDENCE, RESAMPLES = 0.95, 2000
KS = (1, 2, 4, 8)  # values of k for pass@k


def plugin_entropy(counts: Floats) -> Floats:
    """Return the entropy in nats, [...], from the `counts` [..., S] of S strategies."""
    return np.asarray(entr(counts / counts.sum(axis=-1, keepdims=True)).sum(axis=-1))


def chao_shen_entropy(counts: Floats) -> float:
    """Return the entropy in nats, from the `counts` [S] of S strategies in a sample.

    The estimate by Chao and Shen (2003) corrects for unseen strategies.
    """
    observed = counts[counts > 0]
    n, singletons = float(observed.sum()), int(np.sum(observed == 1))
    coverage = 1 - min(singletons, n - 1) / n  # above 0, even if every strategy was seen only once
    shares = coverage * observed / n
    return float(np.sum(entr(shares) / -np.expm1(n * np.log1p(-np.minimum(shares, 1 - 1e-15)))))


def plugin_entropy_interval(counts: Sequence[Floats], seed: int) -> tuple[float, float] | None:
    """Return a 95% confidence interval in nats for the mean entropy over games.

    `counts` holds one array [episodes, S] per game, for S strategies.
    """
    if all(np.count_nonzero(game.sum(axis=0)) < 2 for game in counts):
        return None
    rng, bootstrap_means = np.random.default_rng(seed), np.zeros(RESAMPLES)
    for game in counts:
        n = len(game)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
        bootstrap_means += plugin_entropy(weights @ game) / len(counts)
    mean = float(np.mean([plugin_entropy(game.sum(axis=0)) for game in counts]))
    tail = (1 - CONFIDENCE) / 2
    # the basic bootstrap, because a resample has a lower counted entropy than the sample on average
    low, high = 2 * mean - np.quantile(bootstrap_means, [1 - tail, tail])
    return max(0.0, float(low)), float(high)


def count_labels(labels: Sequence[Sequence[T]], first_labels: Sequence[T] = ()) -> tuple[Floats, tuple[T, ...]]:
    """Return the counts [episodes, S] of S different labels, and the labels, `first_labels` first."""
    all_labels = tuple(dict.fromkeys([*first_labels, *(label for episode in labels for label in episode)]))
    counts = np.array([[episode.count(label) for label in all_labels] for episode in labels], dtype=np.float64)
    return counts.reshape(len(labels), len(all_labels)), all_labels


def pass_at_k(tries: int, wins: int, k: int) -> float:
    """Return an unbiased estimate of the probability that at least one of k tries wins.

    Source: Chen et al. (2021), eq. 1.
    """
    if not 0 <= wins <= tries or not 1 <= k <= tries:
        raise ValueError(f"expected 0 <= wins <= tries and 1 <= k <= tries, got {wins} of {tries}, k = {k}")
    if tries - wins < k:
        return 1.0
    # 1 - C(tries - wins, k) / C(tries, k)
    return 1 - float(np.prod(1 - k / np.arange(tries - wins + 1, tries + 1)))


def pass_at(games: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, Any]]:
    """Return pass@k of each game ("games"), and the mean over games ("mean").

    `games` maps each game to one bool per try: whether the try won.
    """
    ks = [k for k in KS if k <= min(map(len, games.values()))]
    rates = {name: {str(k): pass_at_k(len(won), sum(won), k) for k in ks} for name, won in games.items()}
    return {
        "mean": {str(k): float(np.mean([rate[str(k)] for rate in rates.values()])) for k in ks},
        "games": rates,
    }
