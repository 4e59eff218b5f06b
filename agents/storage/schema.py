"""Pydantic models of `agent.json`, `state.json` and `heads.json`."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from actde.config import NonNegative
from agents.config import ModelConfig
from agents.play.metrics import RECENT

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]
Name: TypeAlias = Annotated[str, Field(max_length=1000)]


class Stored(BaseModel):
    """A strict pydantic model that rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TokenizerSettings(Stored):
    """Settings that `tokenizer.json` does not contain."""

    pad_token: Name | None = None
    unk_token: Name | None = None
    bos_token: Name | None = None
    eos_token: Name | None = None
    chat_template: Annotated[str, Field(max_length=100_000)] | None = None
    split_special_tokens: bool = False


class AgentFile(Stored):
    """The content of `agent.json`. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    kind: Name = "agent"
    prompt: Name
    mode: Literal["trie", "free"]
    context: Annotated[int, Field(ge=1, lt=2**31)]
    guide_beta: NonNegative = 0.0
    model: ModelConfig
    config: dict[str, Any] | None
    tokenizer: TokenizerSettings
    files: dict[Name, Name]
    digest: Name = ""
    made_by: dict[str, Any] = Field(default_factory=dict)
    trained_on: list[Name] | None = None
    return_text: Literal["turn", "prefix"] | None = None
    wanted_return: float | None = None


class HeadsFile(Stored):
    """The content of `heads.json`."""

    format: Literal[1] = 1
    hidden_size: Count
    vocabulary: Count
    layers: Annotated[int, Field(ge=1, le=2)]
    q_heads: Annotated[int, Field(ge=0, le=2)]
    tied: bool
    dueling: bool
    target_q: bool


class Continuation(Stored):
    """A truncated game, and the reset options that continue the game."""

    game: str
    options: dict[str, Any]


class ProcessState(Stored):
    """The state of the `EpisodeRunner` in one process."""

    next_episode: Count
    continuations: dict[Name, Continuation]


class ScheduleState(Stored):
    """The state of a `LevelSchedule`."""

    level: int | None
    recent: list[bool]


class BestState(Stored):
    """The best evaluation of a run."""

    iteration: Count
    value: float


class TrainingState(Stored):
    """The content of `state.json`."""

    iteration: Count
    rollouts: Count | None = None  # of all processes; None: each process made one rollout per iteration
    env_steps: Count
    seconds: NonNegative
    processes: Annotated[list[ProcessState], Field(min_length=1)]
    recent: Annotated[list[bool], Field(max_length=RECENT)]
    level_schedule: ScheduleState
    optimizer: dict[str, Any]
    input_files: dict[str, str] | None = None
    best: BestState | None = None
