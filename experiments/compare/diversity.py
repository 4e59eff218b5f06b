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


def counted_entropy(counts: Floats) -> Floats:
    """Return the entropy [...] in nats of the observed shares, given `counts` [..., S].

    It is too low if the sample is small.
    """
    return np.asarray(entr(counts / counts.sum(axis=-1, keepdims=True)).sum(axis=-1))


def chao_shen_entropy(counts: Floats) -> float:
    """Return the entropy in nats from the counts [S], corrected for unseen strategies.

    The estimate by Chao and Shen (2003) needs n independent samples:

        C = 1 - f_1 / n,   p~ = C p,   H = - sum p~ log p~ / (1 - (1 - p~)^n)

    C is the Good-Turing coverage, p the observed share of a strategy, and f_1 the number of strategies seen once.
    """
    seen = counts[counts > 0]
    n, singles = float(seen.sum()), int(np.sum(seen == 1))
    coverage = 1 - min(singles, n - 1) / n  # above 0, even if every strategy was seen only once
    shares = coverage * seen / n
    return float(np.sum(entr(shares) / -np.expm1(n * np.log1p(-np.minimum(shares, 1 - 1e-15)))))


def counted_interval(rows: Sequence[Floats], seed: int) -> tuple[float, float] | None:
    """Return a 95% confidence interval in nats for the mean counted entropy of the games.

    `rows` contains the counts [episodes, S] of each game. Without any diversity, the result is None.
    """
    if all(np.count_nonzero(game.sum(axis=0)) < 2 for game in rows):
        return None
    rng, resampled = np.random.default_rng(seed), np.zeros(RESAMPLES)
    for game in rows:
        n = len(game)
        times = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
        resampled += counted_entropy(times @ game) / len(rows)
    mean = float(np.mean([counted_entropy(game.sum(axis=0)) for game in rows]))
    tail = (1 - CONFIDENCE) / 2
    # the basic bootstrap, because a resample has a lower counted entropy than the sample on average
    low, high = 2 * mean - np.quantile(resampled, [1 - tail, tail])
    return max(0.0, float(low)), float(high)


def count_labels(labels: Sequence[Sequence[T]], names: Sequence[T] = ()) -> tuple[Floats, tuple[T, ...]]:
    """Return the counts [episodes, S] and the S labels, beginning with `names`."""
    known = tuple(dict.fromkeys([*names, *(label for episode in labels for label in episode)]))
    counts = np.array([[episode.count(label) for label in known] for episode in labels], dtype=np.float64)
    return counts.reshape(len(labels), len(known)), known


def pass_at_k(tries: int, wins: int, k: int) -> float:
    """Return an unbiased estimate of the probability that at least one of k tries wins.

        1 - C(n - c, k) / C(n, k)

    n is the number of tries, and c the number of wins (Chen et al., 2021, eq. 1).
    """
    if not 0 <= wins <= tries or not 1 <= k <= tries:
        raise ValueError(f"expected 0 <= wins <= tries and 1 <= k <= tries, got {wins} of {tries}, k = {k}")
    if tries - wins < k:
        return 1.0
    return 1 - float(np.prod(1 - k / np.arange(tries - wins + 1, tries + 1)))


def pass_at(games: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, Any]]:
    """Return pass@k of each game and its mean, for each k of `KS` that is possible.

    `games` holds whether each try won.
    """
    ks = [k for k in KS if k <= min(map(len, games.values()))]
    rates = {name: {str(k): pass_at_k(len(won), sum(won), k) for k in ks} for name, won in games.items()}
    return {"mean": {str(k): float(np.mean([each[str(k)] for each in rates.values()])) for k in ks}, "games": rates}
