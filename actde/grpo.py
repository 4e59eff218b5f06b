"""GRPO: advantages relative to the mean reward of a group of episodes."""

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Optimizer
from actde.returns import AllReduce, lambda_advantages, lambda_returns, no_reduce, td_errors, whiten


class GRPO(Optimizer):
    """Group-relative policy optimization, Shao et al. (2024).

    The episodes of a group start from the same state. R_i is the sum of the rewards of episode i, without discount.
    Each action of episode i has the advantage

        A_i = (R_i - mean(R)) / (std(R) + 1e-6),   mean and std over the group

    If `group_std` is False, the advantage is R_i - mean(R), as in Dr. GRPO (Liu et al., 2025). v is not trained.
    """

    name = "grpo"
    needs_groups = True

    def baseline(self, batch: Batch) -> Tensor:
        baselines = self.group_baselines(self._reward_sums(batch), *self._episodes_and_groups(batch))
        return baselines.unsqueeze(1).expand_as(batch.rewards)

    def group_baselines(self, rewards: Tensor, episodes: Tensor, groups: Tensor) -> Tensor:
        """Return one baseline per segment, [B]: the mean reward of the segment's group.

        `rewards` [B] holds the total reward of each segment's episode.
        """
        return _group_means(rewards, episodes, groups)

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        self._check_batch(batch)
        rewards, (episodes, groups) = self._reward_sums(batch), self._episodes_and_groups(batch)
        advantages = rewards - self.group_baselines(rewards, episodes, groups)  # [B]
        if self.config.group_std:
            deviations = rewards - _group_means(rewards, episodes, groups)
            advantages = advantages / (_group_means(deviations.square(), episodes, groups).sqrt() + 1e-6)
        advantages = torch.where(batch.mask, advantages.unsqueeze(1), 0.0)
        if self.config.whitening == "batch":
            advantages = whiten(advantages, batch.mask, all_reduce)
        errors = td_errors(self.shaped_rewards(batch), batch.discounts, batch.next_values, batch.values, batch.mask)
        monte_carlo = lambda_advantages(errors, batch.discounts, 1.0)
        return Targets(advantages=advantages, returns=lambda_returns(batch.values, monte_carlo, batch.mask))

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        terms = super().terms(batch, targets, outputs)
        del terms["value_loss"]
        return terms

    def _reward_sums(self, batch: Batch) -> Tensor:
        """Return the total reward of each segment's episode, [B]."""
        segment_rewards = torch.where(batch.mask, self.shaped_rewards(batch), 0.0).sum(dim=1)
        episodes, episode_index = torch.unique(self._episodes_and_groups(batch)[0], return_inverse=True)
        return segment_rewards.new_zeros(len(episodes)).index_add(0, episode_index, segment_rewards)[episode_index]

    def _episodes_and_groups(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.episodes is None or batch.groups is None:
            raise ValueError(f"{self.name!r} needs Batch.episodes and Batch.groups, got None")
        return batch.episodes, batch.groups


def _group_means(x: Tensor, episodes: Tensor, groups: Tensor) -> Tensor:
    """Return the mean of x [B] over the episodes in each segment's group, [B].

    x must be equal for all segments of an episode.
    """
    _, episode_index, segment_counts = torch.unique(episodes, return_inverse=True, return_counts=True)
    weights = 1.0 / segment_counts[episode_index].to(x.dtype)
    group_numbers, group_index = torch.unique(groups, return_inverse=True)
    totals, counts = (x.new_zeros(len(group_numbers)).index_add(0, group_index, y) for y in (x * weights, weights))
    return (totals / counts)[group_index]
