"""ACTDE: advantages relative to the value of the action that was taken."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    `PPO` differs in the line below only. The policy is updated only until q is accurate, so a reward adds a finite
    amount to the logits. In a table with step sizes b (logits) and alpha (q), at every moment (`actde/tabular.py`),

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a)).

    With `advantage="lambda"` the TD errors of later choices count too,

        A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),

    with `advantage="return"` only that of this choice, A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t)). At lambda = 0 both
    equal the first equation.

    ACTDE equals PPO where q(s, a) = v(s): with a single action, with a Q head that ignores the action, and before
    training. Other terms change where it converges:

    * An entropy bonus, or a KL in the loss, keeps acting after the errors have vanished. It moves the policy to its own
      optimum (uniform, or the reference), the faster the larger its weight. In PPO it balances the reward, at
      softmax(q / weight) or softmax(log pi_ref + q / weight).
    * A KL in the reward (`kl_place`) is learned by q like any reward, so it subtracts only a finite amount
      (docs/bandit-penalties).
    * Whitening divides the vanishing error by its own standard deviation, so that it no longer vanishes.
    """

    name = "actde"
    needs_q = True

    def baseline(self, batch: Batch) -> Tensor:
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values
