"""Rejection sampling of single actions: imitation of the actions with the highest scores in a rollout."""

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer
from actde.returns import AllReduce, lambda_advantages, no_reduce, td_errors


class TransitionRejection(Optimizer):
    """Rejection sampling of single actions, as in the text-adventure code of Turner and Einhorn (2023).

    Each action of a rollout has the score

        score_t = G_t - kl_coef (log pi_old(a_t | s_t) - log pi_ref(a_t | s_t)),   G_t = r_t + gamma_t G_(t+1)

    The KL term is absent unless `kl_place` is "reward". At the last choice of a truncated episode, v(s_(t+1)) replaces
    G_(t+1). The `top_actions` actions with the highest scores are imitated:

        policy loss = -log pi(a_t | s_t), averaged over the imitated actions

    With `--credit command`, an action is a whole command, as in the code of Turner and Einhorn. Each process imitates
    the best actions of its own episodes. A caller that adds episodes of earlier rollouts must replace their log pi_old
    by the log-probabilities of the current policy.

    With `importance_weighting`, KL and entropy are estimated from the chosen actions, as in that code:

        KL(pi || pi_ref) ~ rho (log pi - log pi_ref),   entropy ~ -rho log pi,  rho = pi(a_t | s_t) / pi_old(a_t | s_t)

    The estimates are unbiased if pi_old chose every action.
    """

    name = "rejection-transition"
    learns_off_policy = True

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
        """Return targets whose advantages are the weights of the actions in the policy loss.

        Imitated actions have equal weights, and other actions the weight 0. The mean weight over all processes is 1.
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
