"""Compute effective numbers of strategies and pass@k from counts.

The effective number of strategies is exp(H), where H is the entropy over strategies in nats (Hill 1973, order 1). It is
the number of equally likely strategies that would have the same entropy. H is estimated in three ways:

* counted: the entropy of the observed shares. This estimate is too low if the sample is small relative to the number
  of possible strategies. Its exp(H) never exceeds the number of episodes.
* corrected: the counted entropy, corrected for unseen strategies (Chao and Shen 2003). This estimate needs independent
  samples. It fails if almost all samples differ.
* from the policy: the sum of the entropies of an episode's decisions, averaged over episodes. Agents compute these
  entropies exactly. By the chain rule, the estimate is unbiased in deterministic games. In others, it is not valid.
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
    """Return the entropy [...], in nats, of the shares of S strategies, given `counts` [..., S] with positive sums."""
    return np.asarray(entr(counts / counts.sum(axis=-1, keepdims=True)).sum(axis=-1))


def chao_shen_entropy(counts: Floats) -> float:
    """Return the entropy in nats from the counts [S] of n independent samples, corrected for unseen strategies.

    The estimate by Chao and Shen (2003) is

        C = 1 - f_1 / n,   p~ = C p,   H = - sum p~ log p~ / (1 - (1 - p~)^n)

    C is the Good-Turing coverage, p the observed share of a strategy, and f_1 the number of strategies that were seen
    once. If every strategy was seen only once, f_1 is set to n - 1, so that C is above 0.
    """
    seen = counts[counts > 0]
    n, singles = float(seen.sum()), int(np.sum(seen == 1))
    coverage = 1 - min(singles, n - 1) / n
    shares = coverage * seen / n
    return float(np.sum(entr(shares) / -np.expm1(n * np.log1p(-np.minimum(shares, 1 - 1e-15)))))


def counted_interval(rows: Sequence[Floats], seed: int) -> tuple[float, float] | None:
    """Return a 95% confidence interval in nats for the counted entropy, averaged over games.

    `rows` contains the counts [episodes, S] of S strategies for each game. The result is None if only one strategy was
    seen in each game.

    A bootstrap resamples the episodes of each game. On average, a resample has a lower counted entropy than the sample,
    so the bounds are those of the basic bootstrap: 2 H - quantile, where H is the entropy of the sample. The lower
    bound is clipped at 0.
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
    low, high = 2 * mean - np.quantile(resampled, [1 - tail, tail])
    return max(0.0, float(low)), float(high)


def count_labels(labels: Sequence[Sequence[T]], names: Sequence[T] = ()) -> tuple[Floats, tuple[T, ...]]:
    """Return a tuple (counts [episodes, S], S labels): how often each label occurs in each episode.

    The S labels are `names` and then all other labels in the order in which they occur.
    """
    known = tuple(dict.fromkeys([*names, *(label for episode in labels for label in episode)]))
    counts = np.array([[episode.count(label) for label in known] for episode in labels], dtype=np.float64)
    return counts.reshape(len(labels), len(known)), known


def pass_at_k(tries: int, wins: int, k: int) -> float:
    """Return an unbiased estimate of the probability that at least one of k tries wins.

    This is equation 1 of Chen et al. (2021), in a form that does not overflow. With n tries and c wins, it is

        1 - C(n - c, k) / C(n, k)
    """
    if not 0 <= wins <= tries or not 1 <= k <= tries:
        raise ValueError(f"expected 0 <= wins <= tries and 1 <= k <= tries, got {wins} of {tries}, k = {k}")
    if tries - wins < k:
        return 1.0
    return 1 - float(np.prod(1 - k / np.arange(tries - wins + 1, tries + 1)))


def pass_at(games: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, Any]]:
    """Return pass@k of each game, and its mean over games, for each k of `KS`.

    The result has the form {"mean": {"1": ..., "2": ...}, "games": {name: {"1": ..., "2": ...}}}. `games` maps the
    name of a game to a list of booleans: whether each try won. A k is omitted if some game has fewer than k tries.
    """
    ks = [k for k in KS if k <= min(map(len, games.values()))]
    rates = {name: {str(k): pass_at_k(len(won), sum(won), k) for k in ks} for name, won in games.items()}
    return {"mean": {str(k): float(np.mean([each[str(k)] for each in rates.values()])) for k in ks}, "games": rates}
