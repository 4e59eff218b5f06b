"""ILQL: imitation and Q-learning from recorded play."""

from typing import ClassVar

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.imitation import Imitation
from actde.optimizer import Labels


class ILQL(Imitation):
    """Implicit language Q-learning, Snell et al. (2022), after implicit Q-learning, Kostrikov et al. (2021).

    The batch holds recorded play of any policy. The losses of each choice are

        policy loss = -log pi(a | s),                        behaviour cloning
        q loss      = sum_h (q_h(s, a) - r - gamma v(s'))^2
        value loss  = |tau - 1(q' < v)| (q' - v(s))^2,       q' = min_h q'_h(s, a), tau = `expectile`
        cql loss    = -sum_h log softmax(q_h(s, .))(a)       softmax over all tokens that could be chosen

    s' is the state of the next choice, and q_h are the Q heads. The target heads q'_h follow them by Polyak averaging.

    As tau tends to 1, v tends to the maximum of q over the recorded actions. The cql loss lowers the q of actions
    that do not occur in the data. In play, the agent samples from pi_beta with beta = `guide_beta`:

        pi_beta(a | s) proportional to pi(a | s) exp(beta (q(s, a) - v(s)))

    The settings `gae_lambda` and `value_loss` have no effect.
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
