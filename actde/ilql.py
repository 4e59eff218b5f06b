"""ILQL: imitation and Q-learning from recorded play."""

from typing import ClassVar

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.imitation import Imitation
from actde.optimizer import Labels


class ILQL(Imitation):
    """Implicit language Q-learning from recorded play, Snell et al. (2022).

    The losses of a recorded action a are

        policy loss = -log pi(a | s)
        q loss      = sum_h (q_h(s, a) - r - gamma v(s'))^2
        value loss  = |tau - 1(q' < v(s))| (q' - v(s))^2,       q' = min_h q'_h(s, a)
        cql loss    = -sum_h log softmax(q_h(s, .))(a)

    s' is the next state. q_h is a Q head, and q'_h is its target head. tau is the setting `expectile`. 1(x) is 1 if x
    is true, and 0 if x is false.

    As tau tends to 1, v tends to the maximum of q over the recorded actions (Kostrikov et al., 2021). The cql loss
    lowers the q of actions that do not occur in the data. In play, the agent samples from the policy pi_beta:

        pi_beta(a | s) proportional to pi(a | s) exp(beta (q(s, a) - v(s)))

    beta is the setting `guide_beta`. The settings `gae_lambda` and `value_loss` have no effect.
    """

    name = "ilql"
    needs_q_logprobs = True
    labels: ClassVar[Labels] = "recorded"

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config.replace(gae_lambda=0.0, value_loss="ilql"))

    def baseline(self, batch: Batch) -> Tensor:
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        assert outputs.q_logprobs is not None  # checked by `loss`
        cql_loss = (self.config.cql_coef, -outputs.q_logprobs.sum(dim=-1))
        return super().terms(batch, targets, outputs) | {"cql_loss": cql_loss}
