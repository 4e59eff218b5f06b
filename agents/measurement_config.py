"""Settings of two measurements during training: texts at fixed prompts, and evaluation on held-out games."""

from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

from actde.config import Config
from actde.errors import ConfigError

PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
PositiveFraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Size: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]  # number of repetitions in one rollout or update


class ProbeConfig(Config):
    """What is measured about the policy's texts during training."""

    probe_prompts: str = ""
    """Prompts at which texts are measured during training: heldout, train or a file; empty measures none."""
    probe_every: PositiveInt = 10
    """Rollouts between measurements of texts."""
    judge: str = ""
    """Reward that measures the true quality of a text, while the game's reward is a proxy."""

    @model_validator(mode="after")
    def _judge_has_texts(self) -> Self:
        if self.judge and not self.probe_prompts:
            raise ConfigError(f"--judge {self.judge} needs --probe-prompts, the prompts whose texts it judges")
        return self


class EvaluationConfig(Config):
    """Evaluation on held-out games during training. The model plays alone, without an expert or shaped rewards."""

    eval_game: str = ""
    """Held-out GAME that the model plays alone during training; the best agent is kept. Empty evaluates nothing."""
    eval_every: PositiveInt = 10
    """Rollouts between evaluations. The first one is before the training, and the last one at its end."""
    eval_episodes: Size = 20
    """Episodes of each evaluation."""
