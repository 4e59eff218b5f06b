"""The settings of a training run. The docstring of a field is the help text of its option."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from actde.config import BelowOne, Config, Fraction, NonNegative, OptimizerConfig, Positive, PositiveInt, value_type
from actde.errors import ConfigError, unknown
from agents.config_groups import (
    Count,
    EvaluationConfig,
    ImitationConfig,
    PositiveFraction,
    ProbeConfig,
    RolloutConfig,
    Size,
    TrackerNames,
)

SCRATCH = ("pico", "small")  # trunks that start with random weights
SMOLLM2 = "smollm2"  # the trunk that comes in a Python package
NONE = "none"  # the word that stands for None on the command line and in TOML files


class RunConfig(Config):
    """Optimizer, game, seed, initial weights and trackers of a run."""

    optimizer: str = "actde"
    """Update rule: ppo, actde, actde-corrected, mpo, grpo, qae, ilql, imitation, rejection, rejection-transition,
    decision, a registered name or FILE.py:Class."""
    game: str = "textworld:simple?seed=1"
    """GAME to learn. It may name several games."""
    imports: str = ""
    """Modules and Python files, joined by commas, that register games or optimizers."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Random seed of the run."""
    init: str = ""
    """Run or checkpoint whose weights are loaded before training. The KL's reference policy has these weights."""
    reset_q: bool = False
    """Do not load the Q heads of --init. The preset then adds --dueling, so that q starts as v."""
    tracker: TrackerNames = "tensorboard"
    """Trackers that show the metrics: tensorboard, wandb, trackio, several joined by commas, or none."""

    @model_validator(mode="after")
    def _reset_q_has_an_init(self) -> Self:
        if self.reset_q and not self.init:
            raise ConfigError("--reset-q needs --init, whose Q heads it leaves out")
        return self


class ModelConfig(Config):
    """Settings of the model. Each checkpoint stores them."""

    trunk: str = "small"
    """Language model: pico, small, smollm2, or the name or folder of a decoder model of the transformers library."""
    lora: Annotated[int, Field(ge=0, le=4096)] = 0
    """Rank of a LoRA adapter on a pretrained trunk; 0 trains the whole trunk."""
    lora_layers: PositiveInt | None = None
    """Number of upper layers that get an adapter; updates compute lower layers once, if possible. none: all layers."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the trunk. The heads, and the master weights of a trunk trained in full, are always float32."""
    dropout: BelowOne = 0.0
    """Dropout rate of the whole trunk (not small) or, with lora, of the adapter alone."""
    q_heads: Annotated[int, Field(ge=0, le=2)] = 1
    """Number of Q heads; with 2, q is the lower of their outputs. Ignored by optimizers that do not train q."""
    head_layers: Annotated[int, Field(ge=1, le=2)] = 1
    """Number of layers in the value head and in each Q head."""
    target_q: bool = False
    """Add target Q heads, an exponential moving average of the Q heads."""
    detach_value: bool = False
    """Do not propagate the value head's gradient into the trunk."""
    detach_q: bool = False
    """Do not propagate the Q heads' gradient into the trunk."""
    dueling: bool = False
    """Compute q as v plus the Q head's output, which is 0 at first, so that ACTDE starts as PPO."""

    @field_validator("trunk")
    @classmethod
    def _absolute_path(cls, trunk: str) -> str:
        return trunk if trunk in (*SCRATCH, SMOLLM2) or not Path(trunk).is_dir() else str(Path(trunk).absolute())

    @model_validator(mode="after")
    def _layers_of_an_adapter(self) -> Self:
        if self.lora_layers and not self.lora:
            raise ConfigError(f"--lora-layers {self.lora_layers} needs an adapter (--lora), such as --lora 16")
        return self


class RewardConfig(Config):
    """Settings of reward shaping."""

    reward_scale: Positive = 1.0
    """Factor by which all rewards are multiplied."""
    win_bonus: float = 0.0
    """Reward added for a win."""
    loss_penalty: float = 0.0
    """Reward subtracted for a loss."""
    step_cost: float = 0.0
    """Reward subtracted each turn."""
    invalid_penalty: float = 0.0
    """Reward subtracted for a command that is not admissible."""
    bonus: float = 0.0
    """Reward added for each command that starts with --bonus-command."""
    bonus_command: str = ""
    """First words of the commands that are counted and earn --bonus, for example look."""

    def shaping(self) -> dict[str, Any]:
        """Return keyword arguments for `games.shape`."""
        return {name.removeprefix("reward_"): value for name, value in self}

    @model_validator(mode="after")
    def _bonus_has_a_command(self) -> Self:
        if self.bonus and not self.bonus_command.split():
            raise ConfigError(f"--bonus {self.bonus:g} needs --bonus-command, the command that earns it, such as look")
        return self


class UpdateConfig(Config):
    """Settings of the gradient updates."""

    epochs: Size = 4
    """Passes over each rollout."""
    minibatches: Size = 1
    """Gradient steps per pass."""
    micro_batch_tokens: PositiveInt = 4096
    """Tokens per forward pass in the update. Limits memory; does not change the gradient."""
    prefix_sharing: Literal["auto", "off"] = "auto"
    """auto: compute common prefixes of episodes once where this is faster, in play and update; off: never.
    Same policy and gradient either way."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    torch_optimizer: Literal["adamw", "sgd"] = "adamw"
    """torch.optim class. adamw: step size independent of the gradient's scale; sgd: proportional to it."""
    lr: NonNegative = 3e-4
    """Learning rate of the policy: trunk, adapter and lm_head."""
    value_lr: NonNegative | None = None
    """Learning rate of the value head. With none, lr is used."""
    q_lr: NonNegative | None = None
    """Learning rate of the Q heads. With none, lr is used."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Schedule of the learning rates; linear decays to 0 over --iterations."""
    critic_warmup: Count = 0
    """Number of rollouts at the start that train only the value and Q heads."""
    weight_decay: NonNegative = 0.0
    """Weight decay, applied only to the weight matrices of linear layers."""
    beta1: BelowOne = 0.9
    """First beta of AdamW."""
    beta2: BelowOne = 0.95
    """Second beta of AdamW."""
    adam_eps: Positive = 1e-8
    """Epsilon of AdamW; where gradients are far below epsilon, steps are small."""
    max_grad_norm: Positive = 1.0
    """Gradient norm above which gradients are clipped."""
    target_rate: Fraction = 0.005
    """Step size of the target Q heads' moving average."""
    lm_loss_coef: NonNegative = 0.0
    """Weight of an auxiliary next-token loss on the game's text; 0 disables it."""
    lm_loss_tokens: PositiveInt = 64
    """Tokens of game text per episode that the auxiliary loss samples at each gradient step."""


class BudgetConfig(Config):
    """Settings for stopping, level changes and checkpoints."""

    iterations: PositiveInt = 200
    """Number of rollouts; the model is updated after each one."""
    env_steps: PositiveInt | None = None
    """Stop after this many commands in total; none sets no limit."""
    minutes: Positive | None = None
    """Stop after this many minutes in total; none sets no limit."""
    stop_success: PositiveFraction | None = None
    """Stop at this win rate over the last 100 episodes; none disables this."""
    promote: PositiveFraction | None = None
    """Start at the lowest level and move to the next at this win rate; none plays all levels at once."""
    promote_episodes: Size = 50
    """Number of most recent episodes of a level over which --promote measures the win rate."""
    save_every: PositiveInt = 10
    """Rollouts between checkpoints."""

    def reached(self, **values: float) -> str | None:
        """Return the name of the first value that has reached its limit, or None."""
        limits = {name: getattr(self, name) for name in values}
        return next((name for name, limit in limits.items() if limit is not None and values[name] >= limit), None)


class TrainConfig(Config):
    """Configuration of a training run."""

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    imitation: ImitationConfig = Field(default_factory=ImitationConfig)
    update: UpdateConfig = Field(default_factory=UpdateConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    probe: ProbeConfig = Field(default_factory=ProbeConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from a dict: field name -> value."""
        groups: dict[str, Any] = {}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise unknown("setting", name, GROUP_OF)
            groups.setdefault(GROUP_OF[name], {})[name] = value
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Return a dict: field name -> value."""
        return {name: value for group in GROUPS for name, value in getattr(self, group)}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with changed fields."""
        return self.from_flat(self.flat() | changes)

    @model_validator(mode="after")
    def _checkpointing_without_dropout(self) -> Self:
        if self.rollout.rollout_dropout and self.update.gradient_checkpointing:
            raise ConfigError(
                "--rollout-dropout and --gradient-checkpointing cannot be combined: a trunk in training mode that "
                "recomputes activations has no cache; turn one of them off"
            )
        return self


GROUPS: dict[str, type[Config]] = {name: field.annotation for name, field in TrainConfig.model_fields.items()}  # type: ignore[misc]
# a field name occurs in one group only
GROUP_OF = {name: group for group, model in GROUPS.items() for name in model.model_fields}
FIELDS = {name: GROUPS[group].model_fields[name] for name, group in GROUP_OF.items()}


def flatten(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the tables of a settings file into one dict. Raise ConfigError for an unknown or misplaced name."""

    def check(kind: str, name: str, allowed: Iterable[str]) -> None:
        if name not in allowed:
            if name in GROUP_OF:
                raise ConfigError(f"the setting {name} is in the wrong place; it belongs in [{GROUP_OF[name]}]")
            raise ConfigError(unknown(kind, name, allowed))

    values: dict[str, Any] = {}
    for group, table in groups.items():
        check("group", group, GROUPS)
        if not isinstance(table, Mapping):
            raise ConfigError(f"{group} must be a table of settings, got {table!r}")
        for name in table:
            check(f"setting of {group}", name, GROUPS[group].model_fields)
        values |= table
    return values


def parse(name: str, word: str) -> Any:
    """Convert `word` to a value for the setting `name`. Raise ConfigError if `name` is unknown."""
    if name not in FIELDS:
        raise unknown("setting", name, FIELDS)
    if (python_type := value_type(FIELDS[name])) is str:
        return word
    if python_type is bool:
        return {"true": True, "false": False}.get(word, word)
    for number_type in (int, float):
        with suppress(ValueError):
            return number_type(word)
    return None if word == NONE else word
