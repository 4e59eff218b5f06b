"""Quantile advantage estimation: GRPO with a quantile as the baseline."""

import math

import torch
from torch import Tensor

from actde.grpo import GRPO


class QAE(GRPO):
    """Quantile advantage estimation, Wu et al. (2025), arXiv:2509.22611.

        A_i = (R_i - Q_K(R)) / (std(R) + 1e-6)

    R_i is the sum of the rewards of episode i, as in `GRPO`. K is the setting `quantile`. Q_K(R) is the K-quantile of
    the sums R of a group: the smallest R_j for which at least a fraction K of the group has R_i <= R_j.
    """

    name = "qae"

    def group_baselines(self, rewards: Tensor, episodes: Tensor, groups: Tensor) -> Tensor:
        baselines, episode_rewards = torch.empty_like(rewards), dict(zip(episodes.tolist(), rewards, strict=True))
        for group in torch.unique(groups):
            in_group = groups == group
            sorted_rewards = (
                torch.stack([episode_rewards[episode] for episode in set(episodes[in_group].tolist())]).sort().values
            )
            rank = math.ceil(round(self.config.quantile * len(sorted_rewards), 9))  # 0.28 * 25 is 7.000000000000001
            baselines[in_group] = sorted_rewards[max(rank - 1, 0)]
        return baselines
