"""ACTDE: PPO with advantages relative to the value of the action that was taken."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    The updates of the policy vanish once q is accurate. For tables, `actde/tabular.py` gives the resulting policy.

    PPO has the advantage A_t(v), and ACTDE has the advantage A_t(q):

        advantage="lambda":   A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),  k >= 0
        advantage="return":   A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t))

    At lambda = 0, both definitions give A_t(q) = delta_t. ACTDE equals PPO where q(s, a) = v(s).

    With `recentre_q`, the baseline is computed from the policy pi, the reference policy pi_ref and `tau`:

        b_t = v(s_t) + tau (log pi(a_t | s_t) - log pi_ref(a_t | s_t) - KL(pi || pi_ref))

    The Q head is then trained but not used. The expected gradient equals that of PPO with the penalty tau KL in the
    loss (`actde/expected_update.py`). With a table of logits, this gradient is 0 only at the policy
    softmax(log pi_ref + Q^pi / tau).

    Some settings change the policy to which ACTDE converges:

    * An entropy bonus, or a KL penalty in the loss, still acts after the TD errors have vanished.
    * A KL penalty in the reward (`kl_place`) becomes part of q, like any other reward.
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
        """Return q of the chosen actions, [B, T]. With `recentre_q`, return b_t without its KL term."""
        if self.config.recentre_q:  # a batch has no exact KL, so `policy_loss` subtracts it
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
        """Return tau (log pi - log pi_ref) of the chosen actions, [B, T]."""
        if batch.ref_logprobs is None:
            raise ValueError("recentre_q needs Batch.ref_logprobs, got None")
        return self.config.tau * (logprobs - batch.ref_logprobs)
