"""ACTDE: PPO with advantages relative to the value of the action that was taken."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    `PPO` differs only in the method `baseline`. The updates of the policy vanish once q is accurate. A reward therefore
    adds a finite amount to the logits.

    If logits and q are tables, this amount is known (`actde/tabular.py`). Let b and alpha be the step sizes of the
    logits and of q, and logit_0 and q_0 the initial values. After every update,

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a)).

    The advantage A_t(q) differs from PPO's advantage A_t(v) as follows:

        advantage="lambda":   A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),  k >= 0
        advantage="return":   A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t))

    At lambda = 0, both definitions give A_t(q) = delta_t. ACTDE equals PPO where q(s, a) = v(s). Three examples are a
    state with a single action, a Q head that ignores the action, and an untrained network whose v and q are 0.

    With `recentre_q`, the Q head is trained, but the baseline does not use it. The baseline is computed from the
    current policy pi and the reference policy pi_ref, with the temperature tau:

        b_t = c(s_t) + tau (log pi(a_t | s_t) - log pi_ref(a_t | s_t)),    c = v - tau KL(pi || pi_ref)

    This is the equation of the logits above, solved for q, with tau = alpha / b. That equation does not determine c(s).
    With the c above, the mean of b_t under the policy is v. The advantage is G_t - b_t, where G_t is the return. For
    any network, the expected gradient then equals that of PPO with the penalty tau KL in the loss
    (`actde/expected_update.py`).

    With a table of logits, the expected gradient is 0 only at softmax(log pi_ref + Q^pi / tau). The policy returns to
    this point after a disturbance. If v is accurate, b_t equals Q^pi(s_t, a_t) there. For deterministic returns, the
    error G_t - b_t of every sample is then 0. In PPO with the penalty, the errors G_t - v(s_t) do not vanish.

    Other settings change the policy to which ACTDE converges:

    * An entropy bonus, or a KL penalty in the loss, still acts after the TD errors have vanished. The bonus moves the
      policy to the uniform policy, and the penalty moves it to the reference policy. A larger weight moves it faster.
      In PPO, the advantages balance the bonus or the penalty. PPO converges to softmax(Q^pi / weight) with the bonus,
      and to softmax(log pi_ref + Q^pi / weight) with the penalty.
    * q learns a KL penalty in the reward (`kl_place`) like any other reward. The penalty therefore subtracts only a
      finite amount from the logits (docs/bandit-penalties).
    * Whitening divides the vanishing TD errors by their own standard deviation, so they no longer vanish.
    """

    name = "actde"
    needs_q = True
    baseline_is_q = True

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config)
        if config.recentre_q and (config.whitening != "none" or config.advantage != "return"):
            raise OptimizerError(
                "--recentre-q needs the error of a single action, in units of reward: expected --advantage return and "
                f"--whitening none, got {config.advantage} and {config.whitening}"
            )

    def baseline(self, batch: Batch) -> Tensor:
        """Return q of the chosen actions, [B, T]. With `recentre_q`, return b_t with c = v instead.

        A batch does not contain the exact KL, which c needs. With `recentre_q`, `policy_loss` therefore computes the
        advantages again, from the current policy and its exact KL.
        """
        if self.config.recentre_q:
            return batch.values + self._tilt(batch, batch.logprobs)
        assert batch.q_values is not None  # checked by `targets`
        return batch.q_values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        if self.config.recentre_q:
            assert outputs.kl is not None  # checked by `loss`
            centred = self._tilt(batch, outputs.logprobs) - self.config.tau * outputs.kl
            targets = Targets(advantages=targets.returns - (batch.values + centred).detach(), returns=targets.returns)
        return super().policy_loss(batch, targets, outputs)

    def _tilt(self, batch: Batch, logprobs: Tensor) -> Tensor:
        """Return tau (log pi - log pi_ref) of the chosen actions, [B, T], in units of reward. `logprobs` is log pi."""
        if batch.ref_logprobs is None:
            raise ValueError("recentre_q needs Batch.ref_logprobs, got None")
        return self.config.tau * (logprobs - batch.ref_logprobs)
