"""How many strategies a policy has, and what many tries are worth: pure functions of counts.

The effective number of strategies is exp(H), H the entropy over strategies in nats: as many equally likely ones
would have the same entropy (Hill 1973, number of order 1). Three estimates of it, none the best everywhere:

* counted: H of the observed shares. It is too low where the sample is small beside the support, and can never exceed
  the number of episodes.
* corrected: Chao and Shen (2003). Shares are shrunk by the estimated coverage of the sample, and each term is divided
  by the chance to have seen it. For independent samples; it fails where next to all are different.
* from the policy: where the game has no chance of its own, H is by the chain rule the mean over episodes of the sum of
  the entropies of their decisions, without bias, however large the support. `agents` gives those exactly.

Leaves out what a strategy is: that is the game's affair, or the sequence of an episode's commands.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

Floats = NDArray[np.float64]
CONFIDENCE, RESAMPLES = 0.95, 2000
KS = (1, 2, 4, 8)
"""The k of pass@k."""


def counted_entropy(counts: Floats) -> Floats:
    """[...] entropy in nats of the shares that counts [..., S] make up; at least one count has to be above 0."""
    shares = counts / counts.sum(axis=-1, keepdims=True)
    found: Floats = entr(shares).sum(axis=-1)
    return found


def chao_shen_entropy(counts: Floats) -> float:
    """Entropy in nats, corrected for strategies that were not seen; counts [S] of independent samples.

        C = 1 - f_1 / n,   p~ = C p,   H = - sum p~ log p~ / (1 - (1 - p~)^n)

    Chao and Shen (2003); C is Good and Turing's coverage, f_1 the number of strategies that were seen once. Where all
    n were seen once, f_1 is taken as n - 1, else C were 0.
    """
    seen = counts[counts > 0]
    n, singles = float(seen.sum()), int(np.sum(seen == 1))
    coverage = 1 - min(singles, n - 1) / n
    shares = coverage * seen / n
    return float(np.sum(entr(shares) / -np.expm1(n * np.log1p(-np.minimum(shares, 1 - 1e-15)))))


def counted_interval(rows: Sequence[Floats], seed: int) -> tuple[float, float] | None:
    """Bounds of the mean over games of the counted entropy, nats, at 95%; None where no game showed two strategies.

    A bootstrap over episodes, inside each game: `rows[g]` [episodes, S] counts what each episode of game g did. The
    counted entropy of a resample is too low once more, so the bounds are the basic ones, 2 H - quantile, which take
    that back; cut at 0.
    """
    if all(np.count_nonzero(game.sum(axis=0)) < 2 for game in rows):
        return None
    rng, drawn = np.random.default_rng(seed), np.zeros(RESAMPLES)
    for game in rows:
        n = len(game)
        times = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
        drawn += counted_entropy(times @ game) / len(rows)
    found = float(np.mean([counted_entropy(game.sum(axis=0)) for game in rows]))
    tail = (1 - CONFIDENCE) / 2
    low, high = 2 * found - np.quantile(drawn, [1 - tail, tail])
    return max(0.0, float(low)), float(high)


def table(labels: Sequence[Sequence[str]], names: Sequence[str] = ()) -> tuple[Floats, tuple[str, ...]]:
    """Counts [episodes, S] of the labels of each episode, and the S labels; `names` come first, seen or not."""
    known = dict.fromkeys(names) | dict.fromkeys(label for episode in labels for label in episode)
    place = {name: index for index, name in enumerate(known)}
    counts = np.zeros((len(labels), len(place)))
    for row, episode in enumerate(labels):
        for label in episode:
            counts[row, place[label]] += 1
    return counts, tuple(known)


def pass_at_k(tries: int, wins: int, k: int) -> float:
    """Probability that at least one of k tries wins, estimated without bias from n >= k tries of which c won.

        1 - C(n - c, k) / C(n, k)

    Chen et al. (2021), eq. 1, in the form that does not overflow.
    """
    if not 0 <= wins <= tries or not 1 <= k <= tries:
        raise ValueError(f"expected 0 <= wins <= tries and 1 <= k <= tries, got {wins} of {tries}, k = {k}")
    if tries - wins < k:
        return 1.0
    return 1 - float(np.prod(1 - k / np.arange(tries - wins + 1, tries + 1)))


def pass_at(games: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, Any]]:
    """pass@k of each game (name -> won or not), and their mean, for those `KS` that every game has tries for.

    Returns:
        {"mean": {"1": ..., "2": ...}, "games": {name: {"1": ..., "2": ...}}}.
    """
    ks = [k for k in KS if k <= min(map(len, games.values()))]
    each = {name: {str(k): pass_at_k(len(won), sum(won), k) for k in ks} for name, won in games.items()}
    mean = {str(k): float(np.mean([found[str(k)] for found in each.values()])) for k in ks}
    return {"mean": mean, "games": each}
