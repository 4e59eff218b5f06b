"""Compute the KL between a trained policy, its initial policy and the policy that ACTDE predicts, from arrays.

A policy samples a command of several tokens node by node in a trie. The probability of a command is therefore a product
over nodes. The chain rule gives the exact KL to another policy rho on the same trie, whichever command was sampled:

    KL(pi || rho) = sum over nodes n of  pi(path passes n) KL(pi(. | n) || rho(. | n))

`Nodes` holds the branching nodes (nodes with several children) of all decisions.

The functions test a prediction. Tabular ACTDE adds q to the logits (`actde/tabular.py`). After training, pi(. | n)
should therefore be proportional to pi_0(. | n) exp(q(n, .) / tau), with the initial policy pi_0 and a temperature tau.
This predicted policy is called the tilted policy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6
"""Largest 1/tau that is searched, in units of 1 / (spread of q).

For a larger 1/tau the tilted policy is deterministic.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """The branching nodes of several decisions of a policy: n nodes with at most K alternatives each.

    Log-probabilities are padded with -inf.
    """

    reach: Floats
    """[n] probability under pi that the decision passes through the node."""
    policy: Floats
    """[n, K] log pi, in nats."""
    initial: Floats
    """[n, K] log pi_0, in nats."""
    q_values: Floats | None
    """[n, K] q in units of reward, padded with 0, or None if no q was trained."""
    decisions: int
    """Number of decisions. The first node of each decision has reach 1."""

    def __post_init__(self) -> None:
        n, shape = len(self.reach), self.policy.shape
        if self.reach.shape != (n,) or shape[:1] != (n,) or self.initial.shape != shape:
            raise ValueError(f"reach is {self.reach.shape}, but policy {shape} and initial {self.initial.shape}")
        if self.q_values is not None and (self.q_values.shape != shape or not np.isfinite(self.q_values).all()):
            raise ValueError(f"q_values must be finite numbers {shape}, got {self.q_values.shape}")
        if not self.decisions or n == 0:
            raise ValueError("expected at least one decision")

    def mean(self, per_node: Floats) -> float:
        """Return the sum of `per_node` [n], weighted by reach and divided by the number of decisions."""
        return float(self.reach @ per_node / self.decisions)


def entropy(nodes: Nodes) -> float:
    """Return the entropy of pi over commands in nats, averaged over decisions."""
    return nodes.mean(-np.sum(np.exp(nodes.policy) * _finite(nodes.policy), axis=1))


def kl_to_initial(nodes: Nodes) -> float:
    """Return KL(pi || pi_0) over commands in nats, averaged over decisions."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return KL(pi || softmax(log pi_0 + q / tau)) over commands in nats, averaged over decisions.

    The unit of `inverse_tau` is 1 / reward.
    """
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return log softmax(log pi_0 + q / tau) [n, K] in nats, the policy that ACTDE predicts."""
    assert nodes.q_values is not None
    logprobs: Floats = log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1)
    return logprobs


def node_kl(logprobs: Floats, others: Floats) -> Floats:
    """Return the KL [n] in nats from normalised log-probabilities [n, K] to `others` [n, K].

    Rounding can make the result slightly negative.
    """
    kl: Floats = np.sum(np.exp(logprobs) * (_finite(logprobs) - _finite(others)), axis=1)
    return kl


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the 1/tau >= 0 that minimises `kl_to_tilted`.

    KL(pi || softmax(log pi_0 + x q)) is convex in x = 1/tau. Its slope, E_tilted[q] - E_pi[q], increases with x and is
    zero at the minimum. The result is 0 if the slope at 0 is not negative. It is at most MAX_INVERSE_TAU divided by the
    spread of q.
    """
    assert nodes.q_values is not None
    q, pi, padding = nodes.q_values, np.exp(nodes.policy), nodes.policy == -np.inf
    spread = float(np.max(np.where(padding, -np.inf, q).max(axis=1) - np.where(padding, np.inf, q).min(axis=1)))
    if spread == 0:
        return 0.0

    def slope(x: float) -> float:
        return nodes.mean(np.sum((np.exp(tilted(nodes, x)) - pi) * q, axis=1))

    most = MAX_INVERSE_TAU / spread
    if slope(0.0) >= 0:
        return 0.0
    return most if slope(most) <= 0 else float(brentq(slope, 0.0, most, xtol=1e-12, rtol=1e-10))


def _finite(logprobs: Floats) -> Floats:
    """Replace -inf by 0, so that the product with a probability of 0 is 0 and not NaN."""
    return np.where(logprobs == -np.inf, 0.0, logprobs)
