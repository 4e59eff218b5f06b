"""How far a policy went from the one it began with, and whether it went where ACTDE says: pure functions of arrays.

A command of several tokens is chosen node by node through a trie, so a distribution over commands is the product
of those at the nodes, and by the chain rule its KL to another one of the same kind is

    KL(pi || rho) = sum over nodes n of  pi(way passes n) KL(pi(. | n) || rho(. | n)),

exact, whatever was drawn. `Nodes` holds all branching nodes of all decisions. The claim that is measured: in a
table ACTDE makes the policy a ledger of q (`actde/tabular.py`), so that after training

    pi(. | n) is proportional to pi_0(. | n) exp(q(n, .) / tau).

Leaves out where the numbers come from (probe.py) and what is said of strategies (strategies.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.float64]
STEEPEST = 1e6
"""Greatest 1/tau that is looked at, in units of 1 / (spread of q): beyond it the tilted policy is one action."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """n nodes with at most K alternatives, at which a policy chose in `decisions` decisions. Padding is -inf."""

    reach: Floats
    """[n] probability under pi that the decision's way passes the node."""
    policy: Floats
    """[n, K] log pi, nats."""
    initial: Floats
    """[n, K] log pi_0, nats."""
    q_values: Floats | None
    """[n, K] q, units of reward; 0 on padding. None where no q was trained."""
    decisions: int
    """Number of decisions; every one has a node of reach 1."""

    def __post_init__(self) -> None:
        n, shape = len(self.reach), self.policy.shape
        if self.reach.shape != (n,) or shape[:1] != (n,) or self.initial.shape != shape:
            raise ValueError(f"reach is {self.reach.shape}, but policy {shape} and initial {self.initial.shape}")
        if self.q_values is not None and (self.q_values.shape != shape or not np.isfinite(self.q_values).all()):
            raise ValueError(f"q_values must be finite numbers {shape}, got {self.q_values.shape}")
        if not self.decisions or n == 0:
            raise ValueError("expected at least one decision")

    def mean(self, per_node: Floats) -> float:
        """Mean over decisions of numbers per node [n], each weighted by its reach."""
        return float(self.reach @ per_node / self.decisions)


def entropy(nodes: Nodes) -> float:
    """Mean over decisions of the entropy of pi over commands, nats."""
    return nodes.mean(-np.sum(np.exp(nodes.policy) * _finite(nodes.policy), axis=1))


def kl_to_initial(nodes: Nodes) -> float:
    """Mean over decisions of KL(pi || pi_0) over commands, nats."""
    return nodes.mean(node_kl(nodes.policy, nodes.initial))


def kl_to_tilted(nodes: Nodes, inverse_tau: float) -> float:
    """Mean over decisions of KL(pi || softmax(log pi_0 + q / tau)), nats; tau in units of reward."""
    return nodes.mean(node_kl(nodes.policy, tilted(nodes, inverse_tau)))


def tilted(nodes: Nodes, inverse_tau: float) -> Floats:
    """[n, K] log softmax(log pi_0 + q / tau), nats: what ACTDE should make of pi_0."""
    assert nodes.q_values is not None
    found: Floats = log_softmax(nodes.initial + inverse_tau * nodes.q_values, axis=1)
    return found


def node_kl(logs: Floats, others: Floats) -> Floats:
    """[n] KL of normalised log-probabilities [n, K] to others, nats; never below 0 but for rounding."""
    found: Floats = np.sum(np.exp(logs) * (_finite(logs) - _finite(others)), axis=1)
    return found


def best_inverse_tau(nodes: Nodes) -> float:
    """The 1/tau >= 0 at which `kl_to_tilted` is least.

    KL(pi || softmax(log pi_0 + x q)) is convex in x = 1/tau, with the slope E_tilted[q] - E_pi[q], which grows:
    its zero is the minimum. 0 where even the smallest tilt leads away; bounded by `STEEPEST`.
    """
    assert nodes.q_values is not None
    q, pi, padding = nodes.q_values, np.exp(nodes.policy), nodes.policy == -np.inf
    spread = float(np.max(np.where(padding, -np.inf, q).max(axis=1) - np.where(padding, np.inf, q).min(axis=1)))
    if spread == 0:
        return 0.0

    def slope(x: float) -> float:
        return nodes.mean(np.sum((np.exp(tilted(nodes, x)) - pi) * q, axis=1))

    most = STEEPEST / spread
    if slope(0.0) >= 0:
        return 0.0
    return most if slope(most) <= 0 else float(brentq(slope, 0.0, most, xtol=1e-12, rtol=1e-10))


def _finite(logs: Floats) -> Floats:
    """The logs with 0 in place of -inf, where the probability that they are multiplied with is 0."""
    found: Floats = np.where(logs == -np.inf, 0.0, logs)
    return found
