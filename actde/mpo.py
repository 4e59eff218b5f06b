"""MPO with a fixed prior: the policy is fitted to the prior times exp(q / tau)."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer


class MPO(Optimizer):
    """Maximum a posteriori policy optimization, Abdolmaleki et al. (2018), with the fixed prior pi_ref.

    In every state, the E-step with the fixed temperature `tau` maximises

        sum_a pi(a | s) q(s, a) - tau KL(pi || pi_ref).      The maximum is at pi = softmax(log pi_ref + q / tau).

    The network is trained on this expression directly, so no M-step is needed. The policy loss, in nats, is

        KL(pi || pi_ref) - sum_a pi(a | s) q(s, a) / tau = KL(pi || softmax(log pi_ref + q / tau)) + constant

    without a gradient through q. The advantage is not used. v and q are trained as in ACTDE. If q = Q^pi, the loss is
    minimal at the normalised pi_ref exp(Q^pi / tau). Q^pi does not include the KL.

    A KL penalty in the loss raises the temperature to tau (1 + kl_coef).
    """

    name = "mpo"
    needs_q = True
    needs_expected_q = True
    needs_kl = True

    def baseline(self, batch: Batch) -> Tensor:
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values  # only for the advantages that are reported as a metric

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        assert outputs.kl is not None  # both are checked by `loss`
        assert outputs.expected_q is not None
        return outputs.kl - outputs.expected_q / self.config.tau
