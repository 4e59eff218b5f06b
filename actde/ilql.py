"""ILQL: imitation and Q-learning from recorded play. When the policy acts, it is reweighted by q."""

from typing import ClassVar

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.imitation import Imitation
from actde.optimizer import Labels


class ILQL(Imitation):
    """Implicit language Q-learning, Snell et al. (2022), after implicit Q-learning, Kostrikov et al. (2021).

    The choices are tokens in recorded play of any policy. The alternatives of a choice are the tokens that could have
    been chosen. The losses of a choice are

        policy loss = -log pi(a | s),                        at recorded choices (behaviour cloning)
        q loss      = sum_h (q_h(s, a) - r - gamma v(s'))^2
        value loss  = |tau - 1(q' < v)| (q' - v(s))^2,       q' = min_h q'_h(s, a), tau = `expectile`
        cql loss    = -sum_h log softmax(q_h(s, .))(a)       over all alternatives of the choice

    where s' is the state of the next choice, and 1(...) is 1 if the condition holds and 0 otherwise. q'_h are the
    target heads, which follow the heads q_h by Polyak averaging (`Heads.sync_targets`).

    As tau tends to 1, v tends to the maximum of q over the recorded actions. The target of q then contains the value of
    the best recorded continuation of s', even one from another episode. The targets of q are computed once per rollout.
    The cql loss lowers q of actions that do not occur in the data. Its softmax has the temperature 1, in units of
    reward.

    When the policy acts, q guides it with the weight beta = `guide_beta` (`agents.language_model.command_policy`):

        pi_beta(a | s) proportional to pi(a | s) exp(beta (q(s, a) - v(s)))

    The settings `gae_lambda` and `value_loss` have no effect: the target of q is the one-step TD target, and the value
    loss is the expectile loss. The advantages, r + gamma v(s') - q(s, a), are reported as a metric.
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
