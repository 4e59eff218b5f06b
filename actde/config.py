"""The base class `Config`, and the settings of the optimizers. The docstring below a field is the field's help text."""

from typing import Annotated, Any, Literal, Self, TypeAlias, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from actde.errors import ConfigError, unknown

PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
BelowOne: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class Config(BaseModel):
    """An immutable pydantic model. An invalid setting raises `ConfigError` with a message of one line."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _one_line_error(type(self), error) from None

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some values changed."""
        return type(self)(**(dict(self) | changes))


class OptimizerConfig(Config):
    """Settings of an optimizer. v and q are in units of reward. Entropy and KL are in nats."""

    gamma: Fraction = 0.99
    """Discount per turn. Tokens within a command are not discounted."""
    gae_lambda: Fraction = 0.95
    """Lambda of GAE. 0: one-step TD error; 1: Monte Carlo."""
    clip_range: Positive = 0.2
    """PPO's clip range of the probability ratio."""
    value_clip_range: Positive | None = 0.2
    """Clip range of the value update per rollout, in units of reward. none: no clipping."""
    value_coef: NonNegative = 0.1
    """Weight of the value loss."""
    q_coef: NonNegative = 1.0
    """Weight of the Q loss."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    whitening: Literal["none", "batch"] = "none"
    """Advantage normalization. batch: to mean 0 and variance 1 over the batch of all processes."""
    advantage: Literal["lambda", "return"] = "lambda"
    """Advantage estimator. lambda: sum of discounted TD errors; return: lambda-return minus baseline."""
    group_std: bool = True
    """Divide grpo's advantages by the standard deviation of their group; off as in Dr. GRPO."""
    quantile: Fraction = 0.5
    """Quantile of a group's rewards that is the baseline of qae."""
    value_loss: Literal["ppo", "ilql"] = "ppo"
    """Value loss. ppo: clipped squared error to the return; ilql: expectile regression to q."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Expectile of the ilql value loss."""
    cql_coef: NonNegative = 0.1
    """Weight of ilql's conservative loss, which lowers q of actions that do not occur in the data."""
    kl_coef: NonNegative = 0.0
    """Weight of the KL to the reference policy. With --kl-target, this is the initial weight."""
    kl_place: Literal["loss", "reward"] = "loss"
    """Where the KL enters. loss: the exact KL; reward: the sampled KL, subtracted from each reward."""
    kl_target: Positive | None = None
    """Target KL in nats per action for an adaptive kl_coef. none: kl_coef is fixed."""
    tau: Positive = 1.0
    """Temperature of mpo, and of actde with --recentre-q, in units of reward: the limit is pi_ref exp(q / tau)."""
    top_actions: PositiveInt = 64
    """Number of actions of a process's rollout and buffer, best scores first, that rejection-transition imitates."""
    importance_weighting: bool = False
    """KL and entropy of rejection-transition. on: of the chosen actions, weighted by pi / pi_old; off: exact sums."""
    recentre_q: bool = False
    """Baseline of actde. on: v + tau (log pi - log pi_ref - KL), which replaces q; off: the Q head's q."""
    measure_kl: bool = False
    """Measure the exact KL to the reference policy even if its weight is 0."""
    train_q: bool = False
    """Train q even if the optimizer does not use q, in order to measure q."""

    @property
    def needs_reference(self) -> bool:
        """Whether the log-probabilities of the reference policy are needed."""
        return self.kl_coef > 0 or self.measure_kl or self.recentre_q

    @model_validator(mode="after")
    def _target_has_a_coefficient(self) -> Self:
        if self.kl_target is not None and self.kl_coef == 0:
            raise ConfigError("--kl-target needs a --kl-coef above 0 to start from, got 0")
        return self


def option(name: str) -> str:
    """Return the command-line option of a setting, such as "--clip-range"."""
    return f"--{name.replace('_', '-')}"


def format_value(value: object) -> str:
    """Format a value for options and TOML files. None becomes "none", and True becomes "true"."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the allowed values of a `Literal` field, or () for other types."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def is_optional(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def value_type(field: FieldInfo) -> type:
    """Return the type of a field's values without None: int for `int | None`."""
    annotation: Any = _without_none(field).annotation
    return str if choices(field) else annotation


def describe_values(field: FieldInfo) -> str:
    """Describe the values of a field in words, such as "a number from 0 to 1"."""
    python_type = value_type(field)
    if python_type in (bool, str):
        return "true or false" if python_type is bool else "text"
    number = "a whole number" if python_type is int else "a number"
    return f"{number}{_bounds(_without_none(field))}{' or none' if is_optional(field) else ''}"


def _bounds(field: FieldInfo) -> str:
    match field.metadata:
        case [Ge(low), Le(high)]:
            return f" from {low:,} to {high:,}"
    relations: dict[type, str] = {Gt: "above", Ge: "at least", Lt: "below", Le: "at most"}
    texts = [f"{relations[type(bound)]} {getattr(bound, type(bound).__name__.lower()):g}" for bound in field.metadata]
    bounds = " and ".join(texts)
    return f" of {bounds}" if bounds.startswith("at") else f" {bounds}" if bounds else ""


def _without_none(field: FieldInfo) -> FieldInfo:
    return FieldInfo.from_annotation(get_args(field.annotation)[0]) if is_optional(field) else field


def _one_line_error(model: type[Config], error: ValidationError) -> ConfigError:
    details = error.errors(include_url=False)[0]
    name, value = str(details["loc"][0]) if details["loc"] else "", details["input"]
    if details["type"] == "value_error":  # raised by a validator or by a nested model
        cause = details["ctx"]["error"]
        return cause if isinstance(cause, ConfigError) else ConfigError(str(cause))
    if details["type"] == "extra_forbidden":
        return unknown("setting", name, model.model_fields)
    field = model.model_fields[name]
    if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
        return ConfigError(f"{name} must be a table of settings, got {value!r}")
    if details["type"] == "literal_error":
        config_error = unknown(name, value, choices(field))
    else:
        config_error = ConfigError(
            f"{name} must be {describe_values(field)}, got {'none' if value is None else repr(value)}"
        )
    config_error.setting = name
    return config_error
