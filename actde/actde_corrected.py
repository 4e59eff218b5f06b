"""ACTDE without the bias of its action-dependent baseline, for control experiments."""

from torch import Tensor

from actde.actde import ACTDE
from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError


class CorrectedACTDE(ACTDE):
    """ACTDE with a second loss term that removes the bias of its baseline.

    A baseline that depends on the action biases the policy gradient. The second term on the left side of this equation
    removes the bias (Liu et al., 2018; Tucker et al., 2018, eq. 6):

        E[(G - q(s, a)) grad log pi(a | s)] + sum_a q(s, a) grad pi(a | s) = E[G grad log pi(a | s)],

    where G is the return. The equation follows from sum_a q grad pi = E[q(s, a) grad log pi(a | s)]. In expectation,
    the first gradient step on a rollout therefore equals PPO's, even if q is wrong. If q is accurate, the step has a
    smaller variance than PPO's.

    The optimizer is a control for cases in which ACTDE prevents a collapse of the policy. If the policy collapses
    without the bias, ACTDE needs the bias to prevent the collapse. If it does not collapse, the bias is not needed.

    The equation holds with gae_lambda = 0 or advantage = "return". With other settings, the advantage also contains q
    of later actions, whose bias remains. The second loss term is not clipped.
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
