"""PPO: advantages relative to the state value."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class PPO(Optimizer):
    """Proximal policy optimization, Schulman et al. (2017), with the baseline b_t = v(s_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - v(s_t)                                              (eq. 12)

    delta_t is the TD error. An action that is better than the policy's average has a positive TD error on average. PPO
    therefore keeps raising the action's probability.
    """

    name = "ppo"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values
