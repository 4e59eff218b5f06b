"""PPO: advantages relative to the state value."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class PPO(Optimizer):
    """Proximal policy optimization, Schulman et al. (2017), with the baseline b_t = v(s_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - v(s_t)                                        (their eq. 12)

    `ACTDE` differs in the line below only. v follows the current policy, so an action that is better than the policy's
    average keeps a positive advantage as long as a worse one is tried. Its logit has no bound, and the policy
    collapses onto one action. With `train_q`, q is trained as well to measure it; the policy does not use it.
    """

    name = "ppo"
    needs_q = False

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values
