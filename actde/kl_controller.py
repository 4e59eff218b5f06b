"""The coefficient of the KL penalty, fixed or adapted to a target KL."""

import math

from actde.errors import OptimizerError


class KLController:
    """The coefficient `coef` of the KL penalty. Without a target, `coef` is constant.

        coef <- coef (1 + 0.1 clip(kl / target - 1, -0.2, 0.2))

    Source: Ziegler et al. (2019), section 2.2.
    """

    def __init__(self, coef: float, target: float | None = None) -> None:
        self.coef, self.target = coef, target

    def update(self, kl: float) -> None:
        """Update `coef`. `kl` is the mean KL of a rollout, in nats per action.

        Raises:
            OptimizerError: there is a target, and `kl` is not finite.
        """
        if self.target is None:
            return
        if not math.isfinite(kl):
            raise OptimizerError(f"the KL to the reference is {kl}: training diverged, try a smaller learning rate")
        self.coef *= 1.0 + 0.1 * min(max(kl / self.target - 1.0, -0.2), 0.2)
