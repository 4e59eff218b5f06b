"""KL divergences from a trained policy to the initial policy, and to ACTDE's limit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
MAX_INVERSE_TAU = 1e6  # in units of 1 / (spread of q); above it, the tilted policy is practically deterministic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """The n nodes with 2 to K children, from the token tries of several decisions.

    A decision chooses a command. pi is the trained policy, and pi_0 is the initial policy.

    Attributes:
        reach: [n] probability under pi that a decision passes through the node.
        policy, initial: [n, K] log pi and log pi_0 of the children in nats, padded with -inf.
        q_values: [n, K] q of the children in units of reward, padded with 0, or None if no q was trained.
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
        """Return the sum of reach * per_node over nodes, divided by `decisions`. `per_node` is [n]."""
        return float(self.reach @ per_node / self.decisions)


def kl_to_initial(nodes: Nodes) -> float:
    """Return KL(pi || pi_0) over commands, in nats per decision."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))  # by the chain rule


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Return KL(pi || tilted policy) over commands, in nats per decision."""
    return nodes.mean(node_kl(nodes.policy, tilted_policy(nodes, inverse_tau)))


def tilted_policy(nodes: Nodes, inverse_tau: float) -> Floats:
    """Return the logarithm [n, K] of softmax(log pi_0 + q / tau), to which tabular ACTDE converges."""
    assert nodes.q_values is not None
    return np.asarray(log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1))


def node_kl(logprobs: Floats, other_logprobs: Floats) -> Floats:
    """Return KL(p || r) of each node, [n], in nats. The arguments are log p and log r, [n, K]."""
    # -inf counts as 0, because its product with a probability of 0 would be NaN
    log_p, log_q = (np.where(logs == -np.inf, 0.0, logs) for logs in (logprobs, other_logprobs))
    return np.asarray(np.sum(np.exp(logprobs) * (log_p - log_q), axis=1))


def best_inverse_tau(nodes: Nodes) -> float:
    """Return the 1 / tau that minimises `kl_to_tilted`, from 0 to `MAX_INVERSE_TAU` / (spread of q)."""
    assert nodes.q_values is not None
    q, pi, padding = nodes.q_values, np.exp(nodes.policy), nodes.policy == -np.inf
    spread = float(np.max(np.where(padding, -np.inf, q).max(axis=1) - np.where(padding, np.inf, q).min(axis=1)))

    # the derivative of `kl_to_tilted`, which is convex
    def slope(x: float) -> float:
        return nodes.mean(np.sum((np.exp(tilted_policy(nodes, x)) - pi) * q, axis=1))

    if spread == 0 or slope(0.0) >= 0:
        return 0.0
    upper_bound = MAX_INVERSE_TAU / spread
    return upper_bound if slope(upper_bound) <= 0 else float(brentq(slope, 0.0, upper_bound, xtol=1e-12, rtol=1e-10))
