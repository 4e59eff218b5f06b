"""PPO: the advantage of an action is measured against what the state is worth. No loss is defined here."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class PPO(Optimizer):
    """Proximal policy optimization: b_t = v(s_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - v(s_t)

    Schulman et al. (2017). `ACTDE` differs from it in the line below and in nothing else. v moves with the
    policy, so a better action keeps earning advantage whenever a worse one has been tried: its logit has no
    bound, and the policy goes to one action. With `train_q` it trains q as well, to measure it; q then moves
    no action.
    """

    name = "ppo"
    needs_q = False

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values
