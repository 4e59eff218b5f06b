"""KL between a policy, its initial policy, and the one that ACTDE predicts: pure functions of arrays.

A command of several tokens is sampled node by node in a trie, so its probability is a product over nodes. By the chain
rule the KL to another policy on the same trie is exact, for any sample:

    KL(pi || rho) = sum over nodes n of  pi(path passes n) KL(pi(. | n) || rho(. | n))

`Nodes` holds the branching nodes of all decisions. The measured claim: tabular ACTDE adds q to the logits
(`actde/tabular.py`), so that after training pi(. | n) is proportional to pi_0(. | n) exp(q(n, .) / tau).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6
"""Largest 1/tau searched, in units of 1 / (spread of q); beyond it the tilted policy is deterministic."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """n branching nodes, at most K alternatives each, of several decisions of a policy. Padding is -inf."""

    reach: Floats
    """[n] probability under pi that the decision passes the node."""
    policy: Floats
    """[n, K] log pi, nats."""
    initial: Floats
    """[n, K] log pi_0, nats."""
    q_values: Floats | None
    """[n, K] q, units of reward; 0 on padding. None where no q was trained."""
    decisions: int
    """Number of decisions; each has a node of reach 1."""

    def __post_init__(self) -> None:
        n, shape = len(self.reach), self.policy.shape
        if self.reach.shape != (n,) or shape[:1] != (n,) or self.initial.shape != shape:
            raise ValueError(f"reach is {self.reach.shape}, but policy {shape} and initial {self.initial.shape}")
        if self.q_values is not None and (self.q_values.shape != shape or not np.isfinite(self.q_values).all()):
            raise ValueError(f"q_values must be finite numbers {shape}, got {self.q_values.shape}")
        if not self.decisions or n == 0:
            raise ValueError("expected at least one decision")

    def mean(self, per_node: Floats) -> float:
        """Return the mean over decisions of numbers per node [n], weighted by reach."""
        return float(self.reach @ per_node / self.decisions)


def entropy(nodes: Nodes) -> float:
    """Return the mean over decisions of the entropy of pi over commands, nats."""
    return nodes.mean(-np.sum(np.exp(nodes.policy) * _finite(nodes.policy), axis=1))


def kl_to_initial(nodes: Nodes) -> float:
    """Return the mean over decisions of KL(pi || pi_0) over commands, nats."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return the mean over decisions of KL(pi || softmax(log pi_0 + q / tau)), nats; tau in units of reward."""
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return [n, K] log softmax(log pi_0 + q / tau), nats: the policy that ACTDE predicts."""
    assert nodes.q_values is not None
    logprobs: Floats = log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1)
    return logprobs


def node_kl(logprobs: Floats, others: Floats) -> Floats:
    """Return [n] KL of normalised log-probabilities [n, K] to others, nats; below 0 only by rounding."""
    kl: Floats = np.sum(np.exp(logprobs) * (_finite(logprobs) - _finite(others)), axis=1)
    return kl


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the 1/tau >= 0 that minimises `kl_to_tilted`.

    KL(pi || softmax(log pi_0 + x q)) is convex in x = 1/tau, with increasing slope E_tilted[q] - E_pi[q], which is zero
    at the minimum. The result is 0 if the slope at 0 is positive, and at most MAX_INVERSE_TAU / spread of q.
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
    """Replace -inf by 0, so that its product with probability 0 is 0."""
    return np.where(logprobs == -np.inf, 0.0, logprobs)
