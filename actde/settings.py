"""The settings of learning from a batch: one frozen record, each field with its meaning and its range.

The help text lives in the field's metadata, so that a command line can show it. Rates, epochs, heads and
credit belong to the training loop and are not here. Needs no torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any, Literal, Self

from actde.errors import OptimizerError, unknown


def _number(
    default: float | None,
    text: str,
    *,
    low: float = 0.0,
    high: float = math.inf,
    above: bool = False,
    below: bool = False,
    optional: bool = False,
) -> Any:
    """A field that holds a finite number in [low, high] (`above`, `below`: without that end) or None."""
    rule = {"low": low, "high": high, "above": above, "below": below, "optional": optional}
    return field(default=default, metadata={"help": text, "kind": "number", **rule})


def _choice(default: str, text: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"help": text, "kind": "choice", "choices": choices})


def _flag(default: bool, text: str) -> Any:
    return field(default=default, metadata={"help": text, "kind": "flag"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an optimizer learns from a batch. A bad value or name raises `OptimizerError`.

    `metadata["help"]` of each field says what it does; units: reward for v and q, nats for entropy and KL.
    """

    gamma: float = _number(0.99, "discount between turns; inside a command it is 1", high=1)
    lam: float = _number(0.95, "lambda: 0 is the one-step error, 1 is Monte Carlo", high=1)
    clip_range: float = _number(0.2, "the ratio pi/pi_old earns nothing beyond 1 +- this", above=True)
    value_clip_range: float | None = _number(
        0.2, "v moves at most this far per rollout, in reward; none: free", above=True, optional=True
    )
    value_coef: float = _number(0.1, "weight of the value loss")
    q_coef: float = _number(1.0, "weight of the Q loss")
    entropy_coef: float = _number(0.0, "weight of the entropy bonus")
    whitening: Literal["none", "batch"] = _choice(
        "none", "batch: centre and scale advantages over the whole batch, all processes", ("none", "batch")
    )
    advantage: Literal["lambda", "return"] = _choice(
        "lambda", "lambda: accumulate the errors; return: lambda-return minus baseline", ("lambda", "return")
    )
    value_loss: Literal["ppo", "ilql"] = _choice(
        "ppo", "ppo: clipped squares towards the return; ilql: expectile of q (needs q)", ("ppo", "ilql")
    )
    expectile: float = _number(0.9, "tau of the ilql value loss", high=1, above=True, below=True)
    kl_coef: float = _number(0.0, "weight of the KL to the reference; where it starts if adaptive")
    kl_place: Literal["loss", "reward"] = _choice(
        "loss", "loss: exact KL in the loss; reward: its sample taken off each reward", ("loss", "reward")
    )
    kl_target: float | None = _number(
        None, "KL in nats per choice that an adaptive kl_coef aims at; none: fixed", above=True, optional=True
    )
    train_q: bool = _flag(False, "train q also where the optimizer does not need it, to measure it")

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))
        if self.kl_target is not None and self.kl_coef == 0:
            raise OptimizerError("kl_target needs a kl_coef above 0 to start from, got kl_coef=0.0")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values; an unknown name raises with the nearest one."""
        names = [spec.name for spec in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown("setting", name, names)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Settings from a strict JSON object (no NaN, no Infinity)."""
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise OptimizerError(f"settings are not JSON: {error}") from error
        if not isinstance(values, dict):
            raise OptimizerError(f"settings must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False, indent=2)


def _refuse_constant(name: str) -> None:
    raise OptimizerError(f"settings are strict JSON, which has no {name}")


def _checked(spec: Field[Any], value: Any) -> Any:
    """The value in its field's own type, or an `OptimizerError` that says what was expected."""
    assert spec.default is not MISSING
    kind = spec.metadata["kind"]
    if kind == "choice":
        if value not in spec.metadata["choices"]:
            raise unknown(spec.name, value, spec.metadata["choices"])
        return value
    if kind == "flag":
        if not isinstance(value, bool):
            raise OptimizerError(f"{spec.name} must be true or false, got {value!r}")
        return value
    if value is None and spec.metadata["optional"]:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _inside(spec.metadata, value):
        raise OptimizerError(f"{spec.name} must be {_range(spec.metadata)}, got {value!r}")
    return float(value)


def _inside(rule: Mapping[str, Any], value: float) -> bool:
    low, high = rule["low"], rule["high"]
    over = value > low if rule["above"] else value >= low
    under = value < high if rule["below"] else value <= high
    return math.isfinite(value) and over and under


def _range(rule: Mapping[str, Any]) -> str:
    left, right = "(" if rule["above"] else "[", ")" if rule["below"] or math.isinf(rule["high"]) else "]"
    return (
        f"a number in {left}{rule['low']:g}, {rule['high']:g}{right}{' or none' if rule['optional'] else ''}"
    )
