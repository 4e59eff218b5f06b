"""The settings of a training run that are not about learning from a batch (those are `actde.OptimizerConfig`).

One frozen record; each field carries its help text, its range and its group, from which the command line
makes its options. Needs neither torch nor transformers.
"""

from dataclasses import dataclass
from typing import Literal

from actde.errors import OptimizerError
from actde.fields import Record, choice, flag, number, text, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Record):
    """How a run plays, what it trains, and when it stops. A bad value or name raises `OptimizerError`."""

    optimizer: str = text("actde", "ppo, actde, imitation, rejection or a registered one", group="Run")
    game: str = text("textworld:simple?seed=1", "GAME to learn: a name, a file, a folder or a manifest", group="Run")
    trunk: str = text("small", "pico, small, smollm2, or a decoder's name or folder", group="Model")
    seed: int = whole(0, "the one seed of the run", group="Run")
    init: str = text(
        "", "run or checkpoint to begin with: its weights, and the reference of the KL; empty: untrained", group="Run"
    )

    lora: int = whole(0, "rank of a LoRA adapter on a pretrained trunk; 0: train it all", group="Model")
    dtype: Literal["float32", "bfloat16"] = choice(
        "float32", "numbers of the trunk; heads are float32", ("float32", "bfloat16"), group="Model"
    )
    dropout: float = number(0.0, "dropout of a new trunk (pico) or of the adapter", high=1, below=True, group="Model")
    rollout_dropout: bool = flag(False, "keep dropout on while playing, as the post's code does", group="Model")
    q_heads: int = whole(1, "number of Q heads, read as their minimum", low=1, high=2, group="Model")
    head_layers: int = whole(1, "layers of the value and Q heads", low=1, high=2, group="Model")
    target_q: bool = flag(False, "slowly following target Q heads", group="Model")
    target_rate: float = number(0.005, "share by which target heads follow at each step", high=1, group="Model")
    detach_value: bool = flag(False, "no gradient from the value head into the trunk", group="Model")
    detach_q: bool = flag(False, "no gradient from the Q heads into the trunk", group="Model")
    dueling: bool = flag(False, "q = v + Q head, which begins at 0: ACTDE begins as PPO", group="Model")
    gradient_checkpointing: bool = flag(False, "less memory for more time in the update", group="Model")

    episodes: int = whole(16, "episodes per rollout", low=1, group="Rollout")
    group_size: int = whole(1, "episodes of one game in a row, before the next game's turn", low=1, group="Rollout")
    parallel: int = whole(16, "episodes that are live at once", low=1, group="Rollout")
    max_turns: int | None = whole(
        None, "turn limit of an episode; none: the game's own", low=1, optional=True, group="Rollout"
    )
    mode: Literal["trie", "free"] = choice(
        "trie",
        "trie: exact over admissible commands; free: any text to the end of line",
        ("trie", "free"),
        group="Rollout",
    )
    prompt: str = text("plain", "plain: a transcript; chat: the turns of an instructed model", group="Rollout")
    context: int | None = whole(
        None, "longest stream in tokens; none: the trunk's limit", low=16, optional=True, group="Rollout"
    )
    credit: Literal["token", "command"] = choice(
        "token",
        "token: every choice of a token is an action; command: all of a turn are one",
        ("token", "command"),
        group="Rollout",
    )

    reward_scale: float = number(1.0, "factor on all rewards", above=True, group="Reward")
    win_bonus: float = number(0.0, "reward for winning", low=-1e9, group="Reward")
    loss_penalty: float = number(0.0, "taken off for losing", low=-1e9, group="Reward")
    step_cost: float = number(0.0, "taken off each turn", low=-1e9, group="Reward")
    invalid_penalty: float = number(0.0, "taken off a command that is not admissible", low=-1e9, group="Reward")
    bonus: float = number(0.0, "reward for each command that begins with --bonus-command", low=-1e9, group="Reward")
    bonus_command: str = text("", "an act whose share of the turns is measured, as look or examine", group="Reward")

    teacher: Literal["walkthrough", "policy"] = choice(
        "walkthrough",
        "whom imitation asks first; walkthrough: the game's, while it was followed; policy: its policy_commands",
        ("walkthrough", "policy"),
        group="Imitation",
    )
    beta: float = number(
        1.0,
        "probability that the teacher plays a turn, else the model (DAgger); 1: clone it",
        high=1,
        group="Imitation",
    )
    beta_decay: float = number(1.0, "factor on beta after each rollout", high=1, group="Imitation")
    greedy_share: float = number(
        0.0,
        "share of the episodes in which the model's own turns take its likeliest command (DAgger)",
        high=1,
        group="Imitation",
    )
    keep: float = number(
        0.25,
        "share of each game's episodes in a rollout that rejection imitates, by return, and those won",
        high=1,
        above=True,
        group="Imitation",
    )

    epochs: int = whole(4, "passes over each rollout", low=1, group="Update")
    minibatches: int = whole(1, "gradient steps per pass", low=1, group="Update")
    micro_batch_tokens: int = whole(4096, "tokens read at once in the update", low=1, group="Update")
    stepper: Literal["adamw", "sgd"] = choice(
        "adamw",
        "adamw: steps of one size, however small the errors have become; sgd: steps in proportion to them",
        ("adamw", "sgd"),
        group="Update",
    )
    lr: float = number(3e-4, "learning rate of the policy: trunk, adapter, lm_head", group="Update")
    value_lr: float | None = number(None, "learning rate of the value head; none: lr", optional=True, group="Update")
    q_lr: float | None = number(None, "learning rate of the Q heads; none: lr", optional=True, group="Update")
    schedule: Literal["constant", "linear"] = choice(
        "constant",
        "of the learning rates; linear: they fall to 0 over --iterations",
        ("constant", "linear"),
        group="Update",
    )
    warmup: int = whole(0, "rollouts at first in which only the value and Q heads learn", group="Update")
    weight_decay: float = number(0.0, "AdamW's weight decay, on linear matrices only", group="Update")
    beta1: float = number(0.9, "AdamW's first beta", high=1, below=True, group="Update")
    beta2: float = number(0.95, "AdamW's second beta", high=1, below=True, group="Update")
    adam_eps: float = number(1e-8, "AdamW's epsilon; gradients far below it move little", above=True, group="Update")
    max_grad_norm: float = number(1.0, "the gradient's norm is clipped to this", above=True, group="Update")

    text_coef: float = number(0.0, "weight of a next-token loss on the game's text; 0: none", group="Update")
    text_tokens: int = whole(64, "tokens of each stream's text that it predicts at a step", low=1, group="Update")

    iterations: int = whole(200, "rollouts to play and learn from", low=1, group="Budget")
    env_steps: int | None = whole(
        None, "stop after so many commands, in all; none: no limit", low=1, optional=True, group="Budget"
    )
    minutes: float | None = number(
        None, "stop after this long, in all; none: no limit", above=True, optional=True, group="Budget"
    )
    stop_success: float | None = number(
        None,
        "stop when this share of the last 100 episodes is won; none: go on",
        high=1,
        above=True,
        optional=True,
        group="Budget",
    )
    promote: float | None = number(
        None,
        "begin at the games' lowest level; on to the next when this share of the level's last episodes is won",
        high=1,
        above=True,
        optional=True,
        group="Budget",
    )
    promote_episodes: int = whole(50, "episodes of a level over which --promote counts", low=1, group="Budget")
    save_every: int = whole(10, "rollouts between checkpoints", low=1, group="Budget")

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.rollout_dropout and self.gradient_checkpointing:
            raise OptimizerError(
                "rollout_dropout and gradient_checkpointing do not go together: a trunk in training mode that "
                "computes again keeps no cache; give up one of them"
            )
        if self.bonus and not self.bonus_command.split():
            raise OptimizerError(f"bonus={self.bonus:g} needs bonus_command, the command that earns it, such as look")

    @property
    def asks_model(self) -> bool:
        """True where a teacher lets the model play too."""
        return self.beta * self.beta_decay < 1

    @property
    def asks_policy(self) -> bool:
        """True where the teacher needs the games' `policy_commands`, which cost time."""
        return self.teacher == "policy" or self.asks_model

    def shaping(self) -> dict[str, float | str]:
        """The arguments of `games.shape`."""
        return {
            "win_bonus": self.win_bonus,
            "loss_penalty": self.loss_penalty,
            "step_cost": self.step_cost,
            "invalid_penalty": self.invalid_penalty,
            "bonus": self.bonus,
            "bonus_command": self.bonus_command,
            "scale": self.reward_scale,
        }
