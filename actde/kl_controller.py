"""The coefficient of the KL penalty, fixed or adapted to a target KL."""

import math

from actde.errors import OptimizerError


class KLController:
    """The coefficient of the KL penalty. It grows if the KL is above the target, and shrinks if the KL is below.

        coef <- coef (1 + gain clip(kl / target - 1, -0.2, 0.2))

    The rule and the default gain are those of Ziegler et al. (2019), section 2.2. Without a target, the coefficient
    never changes.
    """

    def __init__(self, coef: float, target: float | None = None, *, gain: float = 0.1) -> None:
        self.coef, self.target, self.gain = coef, target, gain

    def update(self, kl: float) -> None:
        """Update the coefficient from the last rollout's mean KL per action, in nats. Without a target, do nothing."""
        if self.target is None:
            return
        if not math.isfinite(kl):
            raise OptimizerError(f"the KL to the reference is {kl}: training diverged, try a smaller learning rate")
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + self.gain * error
