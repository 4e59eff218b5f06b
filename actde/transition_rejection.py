"""Rejection sampling by transition: imitation of the best single actions of a rollout."""

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer
from actde.returns import AllReduce, lambda_advantages, no_reduce, td_errors


class TransitionRejection(Optimizer):
    """Rejection sampling of single actions, as in the text-adventure code of Turner and Einhorn (2023).

    `Rejection` imitates whole episodes. Here, each action of a rollout has a score,

        score_t = G_t - kl_coef (log pi_old(a_t | s_t) - log pi_ref(a_t | s_t)),   G_t = r_t + gamma_t G_(t+1),

    and the `top_actions` actions with the highest scores are imitated. The other actions have no policy loss:

        policy loss = -log pi(a_t | s_t), averaged over the imitated actions.

    The score contains the KL only if `kl_place` is "reward". The returns to which v is fitted then contain the KL, too,
    but G_t never does. At the end of a truncated episode, or of a segment that was cut, G_t is bootstrapped with v.

    With `--credit command`, an action is a whole turn, as in the code of Turner and Einhorn, and its log-probabilities
    are sums over its tokens. Each process imitates the best actions of its own play. A caller that keeps episodes of
    earlier rollouts adds them to the batch, with the log-probabilities of the current policy as log pi_old.

    With `importance_weighting`, KL and entropy are estimated from the chosen actions, as in the code of Turner and
    Einhorn:

        KL(pi || pi_ref) ~ rho (log pi - log pi_ref),   entropy ~ -rho log pi,  rho = pi(a_t | s_t) / pi_old(a_t | s_t)

    The estimates are unbiased if pi_old chose every action. By default, both terms are exact sums over the tokens that
    could be chosen.
    """

    name = "rejection-transition"
    learns_off_policy = True

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def scores(self, batch: Batch) -> Tensor:
        """Return the score of each action, in units of reward. The shape is [B, T]."""
        # v enters at the last choice only, because the rounding of v_t - v_t would decide between equal returns
        last = batch.mask & ~torch.nn.functional.pad(batch.mask[:, 1:], (0, 1))
        final_values = torch.where(last, batch.next_values, 0.0)
        rewards = td_errors(batch.rewards, batch.discounts, final_values, torch.zeros_like(final_values), batch.mask)
        kl_penalties = self.shaped_rewards(batch) - batch.rewards
        return lambda_advantages(rewards, batch.discounts, 1.0) + kl_penalties

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        """Return the targets. The advantages are the weights of the actions in the policy loss.

        The returns are those of the base class. Imitated actions have equal weights, and all other actions have the
        weight 0. The mean weight over all actions of all processes is 1.
        """
        returns = super().targets(batch, all_reduce=all_reduce).returns
        weights = _best(self.scores(batch), batch.mask, self.config.top_actions).to(returns.dtype)
        imitated, actions = all_reduce(weights.sum()), all_reduce(batch.mask.sum().to(returns.dtype))
        return Targets(advantages=weights * actions / imitated.clamp(min=1.0), returns=returns)

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


def _best(scores: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return a bool tensor that is True at the `count` actions with the highest scores. `mask` is True at actions.

    Of actions with equal scores, the earlier ones are taken. If there are at most `count` actions, all are taken.
    """
    order = torch.where(mask, scores, -torch.inf).flatten().argsort(descending=True, stable=True)
    best = torch.zeros_like(mask).flatten()
    best[order[: min(count, int(mask.sum()))]] = True
    return best.view_as(mask)
