"""Compute the KL divergence from a trained policy to its initial policy, and to the policy that ACTDE predicts.

A command of several tokens is a path through a trie. A policy samples this path node by node, so the probability of a
command is a product over nodes. For another policy rho on the same trie, the chain rule gives the exact KL divergence:

    KL(pi || rho) = sum over nodes n of  P(n) KL(pi(. | n) || rho(. | n))

P(n) is the probability under pi that the path passes through node n. `Nodes` stores the branching nodes (nodes with
several children) of all decisions.

Tabular ACTDE adds q to the logits (`actde/tabular.py`). Theory therefore predicts that training ends at the tilted
policy, pi_0(. | n) exp(q(n, .) / tau) divided by its sum. pi_0 is the initial policy, and tau is a temperature.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6  # in units of 1 / (spread of q); above it, the tilted policy is practically deterministic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """The n branching nodes of several decisions, with the two policies and q at each node.

    pi is the trained policy, pi_0 the initial policy, and K the largest number of alternatives at a node.

    Attributes:
        reach: [n] probability under pi that a decision reaches the node. It is 1 for the first node of a decision.
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
        """Return the sum over nodes of `reach` times `per_node` [n], divided by the number of decisions."""
        return float(self.reach @ per_node / self.decisions)


def kl_to_initial(nodes: Nodes) -> float:
    """Return KL(pi || pi_0) over commands, in nats per decision."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return the KL divergence over commands from pi to the tilted policy, in nats per decision.

    `inverse_tau` is 1/tau, in units of 1/reward.
    """
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return log softmax(log pi_0 + q / tau) [n, K], the log-probabilities of the tilted policy, in nats."""
    assert nodes.q_values is not None
    return np.asarray(log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1))


def node_kl(logprobs: Floats, others: Floats) -> Floats:
    """Return the KL divergence [n] at each node, in nats, from the policy `logprobs` to the policy `others`.

    Both arguments are normalised log-probabilities [n, K], padded with -inf. Rounding can make the result slightly
    negative. Each -inf counts as 0, because its product with a probability of 0 would be NaN.
    """
    ours, theirs = (np.where(logs == -np.inf, 0.0, logs) for logs in (logprobs, others))
    return np.asarray(np.sum(np.exp(logprobs) * (ours - theirs), axis=1))


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the x = 1/tau >= 0 that minimises `kl_to_tilted`.

    KL(pi || softmax(log pi_0 + x q)) is convex in x. Its slope is the mean of q under the tilted policy minus the mean
    of q under pi. The result is at most MAX_INVERSE_TAU divided by the spread of q. The spread is the largest
    difference between two q-values at the same node.
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
