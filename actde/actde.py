"""ACTDE: PPO with advantages relative to the value of the action that was taken."""

from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError
from actde.optimizer import Optimizer


class ACTDE(Optimizer):
    """Action-conditioned TD error, Turner and Einhorn (2023): PPO with the baseline b_t = q(s_t, a_t).

        delta_t = r_t + gamma_t v(s_{t+1}) - q(s_t, a_t)

    `PPO` differs only in the method `baseline`. The policy is updated only until q is accurate, so a reward adds a
    finite amount to the logits. With tables of logits and of q, step sizes b and alpha, and initial values logit_0 and
    q_0, the following equation holds after every update (`actde/tabular.py`):

        logit(s, a) - logit_0(s, a) = (b / alpha) (q(s, a) - q_0(s, a))

    With `advantage="lambda"`, the advantage A_t(q) differs from PPO's advantage A_t(v) by a sum over the current and
    all later actions:

        A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q(s_{t+k}, a_{t+k}) - v(s_{t+k})),   k = 0, 1, 2, ...

    With `advantage="return"`, the difference depends only on the current action:

        A_t(q) = A_t(v) - (q(s_t, a_t) - v(s_t))

    At lambda = 0, both definitions give A_t(q) = delta_t. ACTDE equals PPO where q(s, a) = v(s). This is the case with
    a single action, with a Q head that ignores the action, and before training if v and q start at 0.

    With `recentre_q`, the baseline does not come from the Q head. It is computed from the current policy pi and the
    reference policy pi_ref, with the temperature tau:

        b_t = c(s_t) + tau (log pi(a_t | s_t) - log pi_ref(a_t | s_t)),    c = v - tau KL(pi || pi_ref)

    This is the equation of the logits above, solved for q, with tau = alpha / b. The equation leaves c open. With this
    c, the mean of b_t under the policy is v. The advantage is G_t - b_t, with the return G_t. For any network, the
    expected gradient then equals that of PPO with the penalty tau KL in the loss (`actde/expected_update.py`).

    The policy rests only at softmax(log pi_ref + Q^pi / tau), and returns there after a disturbance. There, the errors
    G_t - b_t of the samples vanish, as without `recentre_q`, because G and v contain no KL. In PPO with the penalty,
    the errors do not vanish. The Q head is still trained, but only as a measurement.

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
    baseline_is_q = True

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config)
        if config.recentre_q and (config.whitening != "none" or config.advantage != "return"):
            raise OptimizerError(
                "--recentre-q needs the error of a single action, in units of reward: expected --advantage return and "
                f"--whitening none, got {config.advantage} and {config.whitening}"
            )

    def baseline(self, batch: Batch) -> Tensor:
        """Return q of the chosen actions or, with `recentre_q`, b_t without its KL. The shape is [B, T].

        The KL in c = v - tau KL is left out here (c = v), because a batch does not record it. With `recentre_q`,
        `policy_loss` therefore computes the advantages again, from the current policy and its exact KL.
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
