"""PPO: advantages relative to the state value."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class PPO(Optimizer):
    """Proximal policy optimization, Schulman et al. (2017), with the baseline b_t = v(s_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - v(s_t)                                        (their eq. 12)

    v is the mean value of the policy's actions. While the policy still tries worse actions, the best action has a
    positive advantage. Its logit can therefore grow without bound.

    `ACTDE` differs only in the method `baseline`.
    """

    name = "ppo"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values
