"""MPO with a fixed prior: the policy is fitted to the prior times exp(q / tau), normalised."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer


class MPO(Optimizer):
    """Maximum a posteriori policy optimization, Abdolmaleki et al. (2018), with the fixed prior pi_ref.

    In every state, the E-step with the fixed temperature `tau` maximises

        sum_a pi(a | s) q(s, a) - tau KL(pi || pi_ref).      The maximum is at pi = softmax(log pi_ref + q / tau).

    In the paper, an M-step fits the network to this maximum, and the fitted policy is the next prior. Here the prior
    never changes, and the network itself maximises the expression, so no M-step is needed. The policy loss is

        KL(pi || pi_ref) - sum_a pi(a | s) q(s, a) / tau = KL(pi || softmax(log pi_ref + q / tau)) + constant,

    in nats, without a gradient through q. The loss is a sum over all actions of a state, so the choice of the action
    adds no sampling noise. The loss does not use the advantage, so `clip_range` and `advantage` have no effect. v and q
    are trained as in ACTDE. If q = Q^pi, the loss is minimal at

        pi proportional to pi_ref exp(Q^pi / tau).

    Here, Q^pi is the expected return of the rewards alone, without a KL term. Tabular ACTDE reaches the same policy
    through its invariant (`actde/tabular.py`). MPO reaches it from any policy, with any network and torch optimizer, as
    long as q is accurate.

    A KL penalty in the loss raises the temperature to tau (1 + kl_coef). An entropy bonus makes the policy at the
    minimum more uniform.
    """

    name = "mpo"
    needs_q = True
    needs_expected_q = True
    needs_kl = True

    def baseline(self, batch: Batch) -> Tensor:
        """Return q of the chosen actions. The baseline affects only the advantages that are reported as a metric."""
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        assert outputs.kl is not None  # both are checked by `loss`
        assert outputs.expected_q is not None
        return outputs.kl - outputs.expected_q / self.config.tau
