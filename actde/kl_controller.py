"""The coefficient of the KL penalty, fixed or adapted to a target KL."""

import math

from actde.errors import OptimizerError


class KLController:
    """The coefficient of the KL penalty, adapted to a target KL.

        coef <- coef (1 + 0.1 clip(kl / target - 1, -0.2, 0.2))

    The rule is that of Ziegler et al. (2019), section 2.2. Without a target, the coefficient never changes.
    """

    def __init__(self, coef: float, target: float | None = None) -> None:
        self.coef, self.target = coef, target

    def update(self, kl: float) -> None:
        """Update the coefficient from the mean KL of a rollout, in nats per action.

        Raises:
            OptimizerError: there is a target, but the KL is not finite.
        """
        if self.target is None:
            return
        if not math.isfinite(kl):
            raise OptimizerError(f"the KL to the reference is {kl}: training diverged, try a smaller learning rate")
        self.coef *= 1.0 + 0.1 * min(max(kl / self.target - 1.0, -0.2), 0.2)
