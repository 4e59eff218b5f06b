"""ACTDE: PPO with the baseline q(s, a) instead of v(s)."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    delta_t is the TD error of the action a_t. If v and q are exact, the expected delta_t is 0, and the policy stops
    changing.

    The setting `advantage` selects the advantage A_t. lambda is the setting `gae_lambda`, and G_t is the lambda-return:

        advantage="lambda":   A_t = delta_t + gamma_t lambda A_{t+1}
        advantage="return":   A_t = G_t - q(s_t, a_t)

    With the setting `recentre_q`, the policy pi and the reference policy pi_ref replace the Q head in the baseline:

        b_t = v(s_t) + tau (log pi(a_t | s_t) - log pi_ref(a_t | s_t) - KL(pi || pi_ref))

    tau is a setting. With this b_t, ACTDE has the expected gradient of PPO with the penalty tau KL in the loss. For a
    table of logits, this gradient is 0 only at the policy softmax(log pi_ref + Q^pi / tau).
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
        """Return q of the chosen actions, [B, T]. With `recentre_q`, return b_t without the KL term."""
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
        """Return tau (log pi - log pi_ref) of the actions, [B, T]."""
        if batch.ref_logprobs is None:
            raise ValueError("recentre_q needs Batch.ref_logprobs, got None")
        return self.config.tau * (logprobs - batch.ref_logprobs)
