"""The coefficient of the KL penalty, fixed or adapted to a target KL. KL is in nats, averaged over choices."""

import math

from actde.errors import OptimizerError


class KLController:
    """Holds the coefficient of the KL penalty, and adapts the coefficient if there is a target KL.

    The coefficient grows while the KL is above the target and shrinks while the KL is below the target.

        coef <- coef (1 + gain clip(kl / target - 1, -0.2, 0.2))

    The rule is from Ziegler et al. (2019), section 2.2. Their gain of 0.1 changes the coefficient by at most 2% per
    rollout.
    """

    def __init__(self, coef: float, target: float | None = None, *, gain: float = 0.1) -> None:
        self.coef = coef
        self.target = target
        self.gain = gain

    def update(self, kl: float) -> None:
        """Update the coefficient from the mean KL of the last rollout. Without a target, do nothing."""
        if self.target is None:
            return
        if not math.isfinite(kl):
            raise OptimizerError(f"the KL to the reference is {kl}: training diverged, try a smaller learning rate")
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + self.gain * error
