"""Quantile advantage estimation: GRPO whose baseline is a quantile of the group's rewards."""

import math

import torch
from torch import Tensor

from actde.grpo import GRPO


class QAE(GRPO):
    """Quantile advantage estimation, Wu et al. (2025), arXiv:2509.22611.

        A_i = (R_i - Q_K(R)) / (std(R) + 1e-6)

    The notation is that of `GRPO`. Q_K is the K-quantile of the group's rewards, and K is the setting `quantile`. Q_K
    is the smallest R_j for which at least a fraction K of the group's episodes has R_i <= R_j.
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
