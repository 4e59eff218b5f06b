"""Rejection sampling of single actions."""

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer
from actde.returns import AllReduce, lambda_advantages, no_reduce, td_errors


class TransitionRejection(Optimizer):
    """Rejection sampling of single actions, as in the text-adventure code of Turner and Einhorn (2023).

    In each rollout, the policy imitates the `top_actions` actions with the highest scores:

        score_t     = G_t - kl_coef (log pi_old(a_t | s_t) - log pi_ref(a_t | s_t)),   G_t = r_t + gamma_t G_(t+1)
        policy loss = -log pi(a_t | s_t), averaged over the imitated actions

    pi_old is the policy of the rollout, and pi_ref is the reference policy. The KL term is absent unless the setting
    `kl_place` is "reward". After the last action of a truncated episode, v(s_(t+1)) replaces G_(t+1).

    With the setting `importance_weighting`, KL and entropy are estimated from the sampled actions, as in the same code:

        KL(pi || pi_ref) ~ rho (log pi - log pi_ref),   entropy ~ -rho log pi,  rho = pi(a_t | s_t) / pi_old(a_t | s_t)
    """

    name = "rejection-transition"
    learns_off_policy = True  # for episodes of earlier rollouts, `Batch.logprobs` must be those of the current policy

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def scores(self, batch: Batch) -> Tensor:
        """Return the score of each action, [B, T], in units of reward."""
        # v enters at the last choice only, because the rounding of v_t - v_t would decide between equal returns
        is_last = batch.mask & ~torch.nn.functional.pad(batch.mask[:, 1:], (0, 1))
        final_values = torch.where(is_last, batch.next_values, 0.0)
        rewards = td_errors(batch.rewards, batch.discounts, final_values, torch.zeros_like(final_values), batch.mask)
        kl_penalties = self.shaped_rewards(batch) - batch.rewards
        return lambda_advantages(rewards, batch.discounts, 1.0) + kl_penalties

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        """Return targets with the same advantage for all imitated actions, and 0 for other actions.

        The mean advantage over all processes is 1.
        """
        returns, mask = super().targets(batch, all_reduce=all_reduce).returns, batch.mask
        # of actions with equal scores, the earlier ones are taken
        order = torch.where(mask, self.scores(batch), -torch.inf).flatten().argsort(descending=True, stable=True)
        weights = torch.zeros_like(order, dtype=returns.dtype)
        weights[order[: min(self.config.top_actions, int(mask.sum()))]] = 1.0
        imitated_count, action_count = all_reduce(weights.sum()), all_reduce(mask.sum().to(returns.dtype))
        return Targets(
            advantages=weights.view_as(returns) * action_count / imitated_count.clamp(min=1.0), returns=returns
        )

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        return -targets.advantages * outputs.logprobs

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        terms = super().terms(batch, targets, outputs)
        if self.config.importance_weighting:
            ratio = torch.where(batch.mask, outputs.logprobs - batch.logprobs, 0.0).exp()
            terms["entropy"] = (terms["entropy"][0], -ratio * outputs.logprobs)
            if batch.ref_logprobs is not None:
                weight = self.kl.coef if self.config.kl_place == "loss" else 0.0
                terms["kl_ref"] = (weight, ratio * (outputs.logprobs - batch.ref_logprobs))
        return terms
