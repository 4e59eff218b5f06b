"""The adaptive coefficient of the KL penalty, by hand and in the limit."""

import math

import pytest

from actde import OptimizerError
from actde.kl_controller import KLController


def test_a_fixed_kl_coefficient_is_constant() -> None:
    kl = KLController(0.3)
    kl.update(100.0)
    assert kl.coef == 0.3


@pytest.mark.parametrize(("kl", "wanted"), [(0.1, 1), (0.11, 1.01), (9, 1.02), (0, 0.98), (0.095, 0.995)])
def test_an_adaptive_kl_coefficient_follows_ziegler(kl: float, wanted: float) -> None:
    control = KLController(1.0, 0.1)
    control.update(kl)
    assert control.coef == pytest.approx(wanted)


def test_an_adaptive_kl_coefficient_converges_to_its_target() -> None:
    """A policy whose KL is 1 / coef: the coefficient goes to 1 / target from either side."""
    for start in (0.5, 50.0):
        control = KLController(start, 0.2)
        for _ in range(1000):
            control.update(1 / control.coef)
        assert control.coef == pytest.approx(5, rel=0.01)


def test_an_adaptive_kl_coefficient_refuses_nan() -> None:
    with pytest.raises(OptimizerError, match="KL to the reference is nan: training diverged"):
        KLController(1.0, 0.1).update(math.nan)
