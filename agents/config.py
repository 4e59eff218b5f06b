"""Configuration of a training run: the definition of all settings.

The command line, TOML files, the Python call and `settings.json` all build `TrainConfig`. Field names are unique over
all groups, so `--lr` and `lr` in the TOML table `[update]` name the same field. Imports neither torch nor transformers.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from actde.config import BelowOne, Config, Fraction, NonNegative, OptimizerConfig, Positive, value_type
from actde.errors import ConfigError, unknown

NONE = "none"
"""The word for None, on the command line and in TOML."""
PositiveFraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Reward: TypeAlias = Annotated[float, Field(ge=-1e9)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]


class RunConfig(Config):
    """Optimizer, game, seed and initial weights of a run."""

    optimizer: str = "actde"
    """Update rule: ppo, actde, imitation, rejection or a registered name."""
    game: str = "textworld:simple?seed=1"
    """GAME to learn: a name, a game file, a folder or a manifest."""
    seed: Count = 0
    """Random seed of the run."""
    init: str = ""
    """Run or checkpoint whose weights are loaded before training; also the reference of the KL. Empty: none."""


class ModelConfig(Config):
    """Everything needed to build an untrained model; stored with each checkpoint."""

    trunk: str = "small"
    """Language model: pico, small, smollm2, or the name or folder of a transformers decoder."""
    lora: Count = 0
    """Rank of a LoRA adapter on a pretrained trunk; 0 trains the whole trunk."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the trunk. Heads are always float32."""
    dropout: BelowOne = 0.0
    """Dropout of a new trunk (pico only) or of the LoRA adapter."""
    q_heads: Annotated[int, Field(ge=0, le=2)] = 1
    """Number of Q heads; two are combined by their minimum. Optimizers that need no q ignore it."""
    head_layers: Annotated[int, Field(ge=1, le=2)] = 1
    """Layers of the value and Q heads."""
    target_q: bool = False
    """Keep target Q heads, an exponential moving average of the Q heads."""
    detach_value: bool = False
    """Stop the value head's gradient at the trunk."""
    detach_q: bool = False
    """Stop the Q heads' gradient at the trunk."""
    dueling: bool = False
    """Compute q as v + Q head. The Q head starts at 0, so ACTDE starts as PPO."""


class RolloutConfig(Config):
    """How episodes are collected."""

    episodes: PositiveInt = 16
    """Episodes per rollout."""
    group_size: PositiveInt = 1
    """Consecutive episodes of the same game."""
    parallel: PositiveInt = 16
    """Episodes played at the same time."""
    max_turns: PositiveInt | None = None
    """Turn limit of an episode. none: the game's own limit."""
    mode: Literal["trie", "free"] = "trie"
    """trie: sample among the admissible commands, with exact probabilities; free: generate any text up to a newline."""
    prompt: str = "plain"
    """Prompt format. plain: a transcript; chat: the turns of an instruction-tuned model."""
    context: Annotated[int, Field(ge=16)] | None = None
    """Longest token sequence of an episode. none: the trunk's limit."""
    credit: Literal["token", "command"] = "token"
    """What counts as one action. token: each sampled token; command: all tokens of a turn."""
    rollout_dropout: bool = False
    """Keep dropout active during rollouts, as the post's code does."""


class RewardConfig(Config):
    """How the game's reward is changed before training."""

    reward_scale: Positive = 1.0
    """Factor on all rewards."""
    win_bonus: Reward = 0.0
    """Reward added for a win."""
    loss_penalty: Reward = 0.0
    """Reward subtracted for a loss."""
    step_cost: Reward = 0.0
    """Reward subtracted each turn."""
    invalid_penalty: Reward = 0.0
    """Reward subtracted for a command that is not admissible."""
    bonus: Reward = 0.0
    """Reward added for each command that starts with --bonus-command."""
    bonus_command: str = ""
    """Start of the commands that are counted and earn --bonus, for example look or examine."""

    def shaping(self) -> dict[str, Any]:
        """The arguments of `games.shape`."""
        return {name.removeprefix("reward_"): value for name, value in self}

    @model_validator(mode="after")
    def _bonus_has_a_command(self) -> Self:
        if self.bonus and not self.bonus_command.split():
            raise ConfigError(f"bonus={self.bonus:g} needs bonus_command, the command that earns it, such as look")
        return self


class ImitationConfig(Config):
    """How the imitation and rejection optimizers choose what to imitate."""

    expert: Literal["walkthrough", "policy"] = "walkthrough"
    """Expert asked first. walkthrough: the game's, while the agent follows it; policy: the game's policy_commands."""
    beta: Fraction = 1.0
    """Probability that the expert plays a turn instead of the model (DAgger). 1: behaviour cloning."""
    beta_decay: Fraction = 1.0
    """Factor on beta after each rollout."""
    greedy_share: Fraction = 0.0
    """Fraction of episodes in which the model plays greedily on its own turns (DAgger)."""
    top_fraction: PositiveFraction = 0.25
    """Fraction of each game's episodes, by return, that rejection imitates beside those won."""

    @property
    def model_plays(self) -> bool:
        """Whether the model plays some turns instead of the expert."""
        return self.beta * self.beta_decay < 1

    @property
    def needs_policy(self) -> bool:
        """Whether the expert needs the games' `policy_commands`, which are slow to compute."""
        return self.expert == "policy" or self.model_plays


class UpdateConfig(Config):
    """How gradient steps are made from a rollout."""

    epochs: PositiveInt = 4
    """Passes over each rollout."""
    minibatches: PositiveInt = 1
    """Gradient steps per pass."""
    micro_batch_tokens: PositiveInt = 4096
    """Tokens per forward pass in the update. Limits memory; the gradient does not depend on it."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    torch_optimizer: Literal["adamw", "sgd"] = "adamw"
    """torch.optim class. adamw: step size independent of the gradient's scale; sgd: proportional to it."""
    lr: NonNegative = 3e-4
    """Learning rate of the policy: trunk, adapter and lm_head."""
    value_lr: NonNegative | None = None
    """Learning rate of the value head. none: lr."""
    q_lr: NonNegative | None = None
    """Learning rate of the Q heads. none: lr."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Schedule of the learning rates. linear: decay to 0 over --iterations."""
    critic_warmup: Count = 0
    """Rollouts at the start that train the value and Q heads only."""
    weight_decay: NonNegative = 0.0
    """Weight decay of AdamW, on the weight matrices of linear layers only."""
    beta1: BelowOne = 0.9
    """First beta of AdamW."""
    beta2: BelowOne = 0.95
    """Second beta of AdamW."""
    adam_eps: Positive = 1e-8
    """Epsilon of AdamW; gradients far below it give small steps."""
    max_grad_norm: Positive = 1.0
    """Gradient norm above which gradients are clipped."""
    target_rate: Fraction = 0.005
    """Step of the target Q heads' moving average."""
    lm_loss_coef: NonNegative = 0.0
    """Weight of an auxiliary next-token loss on the game's text. 0: off."""
    lm_loss_tokens: PositiveInt = 64
    """Game-text tokens per episode and gradient step in the auxiliary loss."""


class BudgetConfig(Config):
    """When a run stops, changes level and saves."""

    iterations: PositiveInt = 200
    """Rollouts to play and learn from."""
    env_steps: PositiveInt | None = None
    """Stop after this many commands in total. none: no limit."""
    minutes: Positive | None = None
    """Stop after this many minutes in total. none: no limit."""
    stop_success: PositiveFraction | None = None
    """Stop at this win rate over the last 100 episodes. none: never."""
    promote: PositiveFraction | None = None
    """Start at the lowest level; move to the next at this win rate. none: all levels at once."""
    promote_episodes: PositiveInt = 50
    """Episodes of a level over which --promote measures the win rate."""
    save_every: PositiveInt = 10
    """Rollouts between checkpoints."""


class TrainConfig(Config):
    """The whole configuration of a training run."""

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    imitation: ImitationConfig = Field(default_factory=ImitationConfig)
    update: UpdateConfig = Field(default_factory=UpdateConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """The configuration with these values by field name, without groups, and defaults for the rest."""
        groups: dict[str, Any] = {}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise unknown("setting", name, GROUP_OF)
            groups.setdefault(GROUP_OF[name], {})[name] = value
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """All values by field name, without groups."""
        return {name: value for group in GROUPS for name, value in getattr(self, group)}

    def replace(self, **changes: Any) -> Self:
        """A copy in which the fields of these names, without groups, have other values."""
        return self.from_flat(self.flat() | changes)

    @model_validator(mode="after")
    def _checkpointing_without_dropout(self) -> Self:
        if self.rollout.rollout_dropout and self.update.gradient_checkpointing:
            raise ConfigError(
                "rollout_dropout and gradient_checkpointing cannot be combined: a trunk in training mode that "
                "recomputes activations has no cache; turn one of them off"
            )
        return self


GROUPS: dict[str, type[Config]] = {
    name: field.annotation  # type: ignore[misc]  # every field is a model
    for name, field in TrainConfig.model_fields.items()
}
GROUP_OF = {name: group for group, model in GROUPS.items() for name in model.model_fields}
"""The group of each field."""
FIELDS: dict[str, FieldInfo] = {name: GROUPS[group].model_fields[name] for name, group in GROUP_OF.items()}


def flatten(groups: Mapping[str, Any]) -> dict[str, Any]:
    """The values of groups, read from TOML or JSON, by field name; not validated.

    Raises:
        ConfigError: a group or a name is unknown.
    """
    values: dict[str, Any] = {}
    for group, table in groups.items():
        if group not in GROUPS:
            raise ConfigError(f"{unknown('group', group, GROUPS)}{_home(group)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{group} must be a table of settings, got {table!r}")
        for name in table:
            if name not in GROUPS[group].model_fields:
                raise ConfigError(f"{unknown(f'setting of {group}', name, GROUPS[group].model_fields)}{_home(name)}")
        values |= table
    return values


def parse(name: str, word: str) -> Any:
    """Convert a word to the value of a setting, `none` to None; the models check type and range.

    Raises:
        ConfigError: there is no setting of this name.
    """
    if name not in FIELDS:
        raise unknown("setting", name, FIELDS)
    kind = value_type(FIELDS[name])
    if kind is str:
        return word
    if kind is bool:
        return {"true": True, "false": False}.get(word, word)
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return None if word == NONE else word


def _home(name: str) -> str:
    return f"; it belongs into {GROUP_OF[name]}" if name in GROUP_OF else ""
