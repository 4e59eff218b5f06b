"""ACTDE without the bias of its action-dependent baseline, for control experiments."""

from torch import Tensor

from actde.actde import ACTDE
from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError


class CorrectedACTDE(ACTDE):
    """ACTDE with a second loss term that removes the bias of its baseline.

    A baseline that depends on the action biases the policy gradient. The second term of this sum removes the bias (Liu
    et al., 2018; Tucker et al., 2018, eq. 6):

        E[(G - q(s, a)) grad log pi(a | s)] + sum_a q(s, a) grad pi(a | s) = E[G grad log pi(a | s)]

    G is the return. In expectation, the first gradient step on a rollout equals PPO's, even if q is wrong. The equation
    needs an advantage that does not contain the q of later actions: gae_lambda = 0 or advantage = "return". The second
    term is not clipped.
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
