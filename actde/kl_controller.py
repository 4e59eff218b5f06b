"""The coefficient of the KL to the reference policy: fixed, or steered towards a target.

The penalty itself is applied in `optimizer.py`; the KL is in nats per choice, averaged over choices.
"""

import math
from typing import Protocol

from actde.errors import OptimizerError


class KLController(Protocol):
    """Holds the coefficient and may change it once per rollout."""

    coef: float

    def update(self, kl: float) -> None: ...


class FixedKL:
    """A coefficient that stays."""

    def __init__(self, coef: float) -> None:
        self.coef = coef

    def update(self, kl: float) -> None:
        """Changes nothing."""


class AdaptiveKL:
    """A coefficient that grows while KL is above its target and shrinks while it is below.

        coef <- coef (1 + gain clip(kl / target - 1, -0.2, 0.2))

    Ziegler et al. (2019), section 2.2, with their gain of 0.1: at most 2% per rollout.
    """

    def __init__(self, coef: float, target: float, *, gain: float = 0.1) -> None:
        self.coef = coef
        self.target = target
        self.gain = gain

    def update(self, kl: float) -> None:
        """Moves the coefficient by the KL measured over the last rollout."""
        if not math.isfinite(kl):
            raise OptimizerError(f"the KL to the reference is {kl}: learning diverged, try a smaller rate")
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + self.gain * error
