"""ACTDE, action-conditioned TD error: what was expected includes the action. No loss is defined here."""

from torch import Tensor

from actde.batch import Batch
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error: b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    Turner and Einhorn (2023). `PPO` differs from it in the line below and in nothing else. An error moves the
    policy only until q has learned it, so a reward gives a finite amount of logits: in a table, the initial
    policy plus (b/a)(q - q_0), with b and a the step sizes of logits and of q (`actde/tabular.py`).

    What is finite is outlasted by what is not: an entropy bonus, or a KL in the loss, goes on when the errors have
    vanished, and takes the policy to its own optimum (even odds, or the reference), the sooner the larger its weight.
    In PPO it balances the reward, at softmax(q / weight) or softmax(log pi_ref + q / weight). KL in the reward
    (`kl_place`) is learned by q as any reward is, and takes off a finite part only (docs/bandit-penalties).

    It degenerates to PPO where q(s, a) = v(s): with one action, with a Q head that ignores the action, or
    before either has learned. Whitening divides the vanishing error by its own spread and so keeps it from
    vanishing. With advantage "lambda" the errors of later choices count too,

        A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),

    and with "return" only that of this choice, A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t)). At lambda 0 both are
    the equation above.
    """

    name = "actde"
    needs_q = True

    def baseline(self, batch: Batch) -> Tensor:
        assert batch.q_values is not None  # `targets` refuses a batch without q
        return batch.q_values
