"""ACTDE: PPO with advantages relative to the value of the action that was taken."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    `PPO` differs only in the method `baseline`. The policy is updated only until q is accurate, so a reward adds a
    finite amount to the logits. With tables of logits and of q, step sizes b and alpha, and initial values logit_0 and
    q_0, the following equation holds after every update (`actde/tabular.py`):

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a))

    With `advantage="lambda"`, the advantage differs from PPO's A_t(v) by a sum over the current and all later actions:

        A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),   k = 0, 1, 2, ...

    With `advantage="return"`, the difference from PPO's advantage depends only on the current action:

        A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t))

    At lambda = 0, both definitions give A_t(q) = delta_t. ACTDE equals PPO where q(s, a) = v(s). This is the case with
    a single action, with a Q head that ignores the action, and before training if v and q start at 0.

    Other settings change the policy to which ACTDE converges:

    * An entropy bonus, or a KL penalty in the loss, keeps acting after the TD errors have vanished. The policy then
      moves to the uniform policy (bonus) or to the reference policy (penalty). A larger weight makes the policy move
      faster. In PPO, the bonus or penalty balances the reward instead. PPO converges to softmax(q / weight) with the
      bonus, and to softmax(log pi_ref + q / weight) with the penalty.
    * With a KL penalty in the reward (`kl_place`), q learns the penalty like any other reward. The penalty therefore
      subtracts only a finite amount from the logits (docs/bandit-penalties).
    * Whitening divides the vanishing TD errors by their own standard deviation, so they no longer vanish.
    """

    name = "actde"
    needs_q = True

    def baseline(self, batch: Batch) -> Tensor:
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values
