"""MPO with a fixed prior."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer


class MPO(Optimizer):
    """Maximum a posteriori policy optimization, Abdolmaleki et al. (2018), with the fixed prior pi_ref.

    pi_ref is the reference policy, and the temperature tau is a setting. In every state, MPO maximises the objective

        sum_a pi(a | s) q(s, a) - tau KL(pi || pi_ref)

    The maximum is at pi = softmax(log pi_ref + q / tau). The network is trained on the objective directly. The policy
    loss, in nats, is

        KL(pi || pi_ref) - sum_a pi(a | s) q(s, a) / tau = KL(pi || softmax(log pi_ref + q / tau)) + constant

    q has no gradient in the policy loss. v and q are trained as in ACTDE.
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
