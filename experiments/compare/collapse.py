"""Compute the KL divergence from a trained policy to its initial policy, and to the policy that ACTDE predicts.

A policy samples a command of several tokens on a path through a trie, node by node. The probability of a command is
therefore a product over nodes. For another policy rho on the same trie, the chain rule gives the exact KL divergence:

    KL(pi || rho) = sum over nodes n of  P(n) KL(pi(. | n) || rho(. | n))

P(n) is the probability under pi that the path passes through node n. The result does not depend on the command that was
sampled. `Nodes` stores the branching nodes (nodes with several children) of all decisions.

The functions test a prediction. Tabular ACTDE adds q to the logits (`actde/tabular.py`). After training, pi(. | n)
should therefore be proportional to pi_0(. | n) exp(q(n, .) / tau). Here pi_0 is the initial policy, and tau is a
temperature. The predicted policy is called the tilted policy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6
"""Upper limit of the search for 1/tau, in units of 1 / (spread of q).

The spread is the largest difference between two q values of one node. Above the limit, the tilted policy is practically
deterministic.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """The n branching nodes of several decisions. A node has at most K alternatives.

    If a node has fewer than K alternatives, its log-probabilities are padded with -inf.
    """

    reach: Floats
    """[n] For each node, the probability under pi that the decision passes through the node."""
    policy: Floats
    """[n, K] log pi, in nats."""
    initial: Floats
    """[n, K] log pi_0, in nats."""
    q_values: Floats | None
    """[n, K] q in units of reward, padded with 0. It is None if no q was trained."""
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
        """Sum `per_node`, weighted by reach, over the nodes of each decision. Return the mean over decisions.

        The shape of `per_node` is [n].
        """
        return float(self.reach @ per_node / self.decisions)


def entropy(nodes: Nodes) -> float:
    """Return the entropy of pi over commands, in nats, averaged over decisions."""
    return nodes.mean(-np.sum(np.exp(nodes.policy) * _finite(nodes.policy), axis=1))


def kl_to_initial(nodes: Nodes) -> float:
    """Return KL(pi || pi_0) over commands, in nats, averaged over decisions."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return KL(pi || softmax(log pi_0 + q / tau)) over commands, in nats, averaged over decisions.

    The unit of `inverse_tau` is 1 / reward.
    """
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return the log-probabilities of the tilted policy, log softmax(log pi_0 + q / tau), in nats.

    The shape is [n, K].
    """
    assert nodes.q_values is not None
    logprobs: Floats = log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1)
    return logprobs


def node_kl(logprobs: Floats, others: Floats) -> Floats:
    """Return the KL divergence at each node, in nats, from the policy `logprobs` to the policy `others`.

    The arguments contain normalised log-probabilities. Their shape is [n, K], and the shape of the result is [n].
    Rounding can make the result slightly negative.
    """
    kl: Floats = np.sum(np.exp(logprobs) * (_finite(logprobs) - _finite(others)), axis=1)
    return kl


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the 1/tau >= 0 that minimises `kl_to_tilted`.

    KL(pi || softmax(log pi_0 + x q)) is convex in x = 1/tau. Its slope, E_tilted[q] - E_pi[q], increases with x and is
    zero at the minimum. If the slope at 0 is not negative, the result is 0. The result never exceeds MAX_INVERSE_TAU
    divided by the spread of q.
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
    """Replace each -inf by 0, so that its product with a probability of 0 is 0 instead of NaN."""
    return np.where(logprobs == -np.inf, 0.0, logprobs)
