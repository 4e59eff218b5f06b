"""ACTDE without the bias of its baseline."""

from torch import Tensor

from actde.actde import ACTDE
from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError


class CorrectedACTDE(ACTDE):
    """ACTDE with a second loss term, which removes the bias of the policy gradient.

    The policy gradient of ACTDE is biased, because q(s, a) depends on the action. In the following sum, the second term
    removes the bias (Liu et al., 2018; Tucker et al., 2018, eq. 6):

        E[(G - q(s, a)) grad log pi(a | s)] + sum_a q(s, a) grad pi(a | s) = E[G grad log pi(a | s)]

    G is the return. On average, the first gradient step on a rollout equals the step of PPO, even if q is wrong. The
    equality needs `gae_lambda=0` or `advantage="return"`, because other advantages contain the q of later actions.
    """

    name = "actde-corrected"
    needs_expected_q = True

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config)
        if config.whitening != "none":
            raise OptimizerError(f"{self.name} needs advantages in units of reward: expected whitening=none")
        if config.recentre_q:
            raise OptimizerError(f"{self.name} corrects the bias of the Q head's q: expected recentre_q=false")

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        assert outputs.expected_q is not None  # checked by `loss`
        return super().policy_loss(batch, targets, outputs) - outputs.expected_q
