"""KL divergence from a trained policy to its initial policy and to ACTDE's theoretical limit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6  # in units of 1 / (spread of q); above it, the tilted policy is practically deterministic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """The branching nodes of several decisions in a trie of tokens.

    A branching node has several children, at most K. pi is the trained policy, pi_0 the initial one.

    Attributes:
        reach: [n] probability under pi that a decision reaches the node.
        policy, initial: [n, K] log pi and log pi_0 in nats, padded with -inf.
        q_values: [n, K] q in units of reward, padded with 0, or None if no q was trained.
        decisions: the number of decisions.
    """

    reach: Floats
    policy: Floats
    initial: Floats
    q_values: Floats | None
    decisions: int

    def __post_init__(self) -> None:
        n, shape = len(self.reach), self.policy.shape
        if self.reach.shape != (n,) or shape[:1] != (n,) or self.initial.shape != shape:
            raise ValueError(f"reach is {self.reach.shape}, but policy {shape} and initial {self.initial.shape}")
        if self.q_values is not None and (self.q_values.shape != shape or not np.isfinite(self.q_values).all()):
            raise ValueError(f"q_values must be finite numbers {shape}, got {self.q_values.shape}")
        if not self.decisions or n == 0:
            raise ValueError("expected at least one decision")

    def mean(self, per_node: Floats) -> float:
        """Return the sum of `reach` times `per_node` [n], per decision."""
        return float(self.reach @ per_node / self.decisions)


def kl_to_initial(nodes: Nodes) -> float:
    """Return KL(pi || pi_0) over commands, in nats per decision.

    By the chain rule, it is the sum over nodes n of P(n) KL(pi(. | n) || pi_0(. | n)), where P(n) is `reach`.
    """
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return the KL from pi to the tilted policy, in nats per decision."""
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return the tilted policy, log softmax(log pi_0 + q / tau) [n, K], where tabular ACTDE ends."""
    assert nodes.q_values is not None
    return np.asarray(log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1))


def node_kl(logprobs: Floats, others: Floats) -> Floats:
    """Return the KL [n] in nats from `logprobs` to `others`.

    Both are normalised log-probabilities [n, K], padded with -inf.
    """
    # -inf counts as 0, because its product with a probability of 0 would be NaN
    ours, theirs = (np.where(logs == -np.inf, 0.0, logs) for logs in (logprobs, others))
    return np.asarray(np.sum(np.exp(logprobs) * (ours - theirs), axis=1))


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the 1/tau >= 0 that minimises `kl_to_tilted`, which is convex in 1/tau.

    It is at most MAX_INVERSE_TAU divided by the spread of q.
    """
    assert nodes.q_values is not None
    q, pi, padding = nodes.q_values, np.exp(nodes.policy), nodes.policy == -np.inf
    spread = float(np.max(np.where(padding, -np.inf, q).max(axis=1) - np.where(padding, np.inf, q).min(axis=1)))

    def slope(x: float) -> float:
        return nodes.mean(np.sum((np.exp(tilted(nodes, x)) - pi) * q, axis=1))

    if spread == 0 or slope(0.0) >= 0:
        return 0.0
    most = MAX_INVERSE_TAU / spread
    return most if slope(most) <= 0 else float(brentq(slope, 0.0, most, xtol=1e-12, rtol=1e-10))
