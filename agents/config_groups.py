"""Settings of rollouts, imitation, probes and evaluation."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from actde.config import Config, Fraction, NonNegative, Positive, PositiveInt
from actde.errors import ConfigError, unknown

PositiveFraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Size: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]  # number of repetitions in one rollout or update
NO_TRACKER = "none"
TRACKERS = ("tensorboard", "wandb", "trackio")
# matches a source whose episodes are played when the run starts, such as `random:20`
GENERATED = re.compile(r"(?P<player>random|expert):(?P<episodes>[1-9][0-9]{0,8})")


def tracker_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of trackers. Return () for "none"."""
    return () if text == NO_TRACKER else tuple(dict.fromkeys(text.split(",")))


def _check_trackers(text: str) -> str:
    for name in tracker_names(text):
        if name == NO_TRACKER:
            raise ConfigError(f"tracker must be none or names without none, got {text!r}")
        if name not in TRACKERS:
            raise unknown("tracker", name, (*TRACKERS, NO_TRACKER))
    return text


TrackerNames: TypeAlias = Annotated[str, AfterValidator(_check_trackers)]


def source_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of data sources."""
    return tuple(dict.fromkeys(filter(None, text.split(","))))


def _absolute_sources(text: str) -> str:
    for name in source_names(text):
        if name.partition(":")[0] in ("random", "expert") and not (GENERATED.fullmatch(name) or Path(name).exists()):
            raise ConfigError(f"--data expects a path, or episodes as in random:20 or expert:20, got {name!r}")
    return ",".join(name if GENERATED.fullmatch(name) else str(Path(name).absolute()) for name in source_names(text))


SourceNames: TypeAlias = Annotated[str, AfterValidator(_absolute_sources)]


class RolloutConfig(Config):
    """Settings of the rollouts."""

    episodes: Size = 16
    """Episodes per rollout."""
    group_size: Size = 1
    """Number of consecutive episodes that play the same game with the same seed."""
    parallel: Size = 16
    """Episodes played at the same time."""
    max_turns: Size | None = None
    """Turn limit of an episode. With none, the game's own limit applies."""
    step_seconds: Positive | None = None
    """Maximum seconds of a game's step; games then run in child processes, killed at the limit. none sets no limit."""
    mode: Literal["trie", "free"] = "trie"
    """trie: sample among the admissible commands with exact probabilities; free: generate any text."""
    prompt: Literal["plain", "chat"] = "plain"
    """Prompt format. plain: a transcript; chat: the chat template of an instruction-tuned model's tokenizer."""
    context: Annotated[int, Field(ge=16)] | None = None
    """Maximum tokens of context; a longer episode is cut. With none, the trunk's limit applies."""
    guide_beta: NonNegative = 0.0
    """Weight of q in play, per unit of reward: the policy is multiplied by exp(guide_beta q) and normalised."""
    credit: Literal["token", "command"] = "token"
    """What counts as one action. token: each sampled token; command: all sampled tokens of a turn."""
    random_share: Fraction = 0.0
    """Fraction of the turns at which a random admissible command is played, for optimizers that learn off policy."""
    rollout_dropout: bool = False
    """Use dropout during rollouts too, as the code of Turner and Einhorn (2023) does."""
    data: SourceNames = ""
    """Recorded play to learn from: a run, saved episodes, a transcript, random:N or expert:N. Joined by commas."""
    data_share: PositiveFraction = 1.0
    """Fraction of a rollout's episodes that is taken from --data; the model plays the others."""
    buffer_episodes: Count = 0
    """Size of the replay buffer in each process: number of own episodes of earlier rollouts that updates use again."""
    buffer_keep: Literal["best", "latest"] = "best"
    """Episodes that the buffer keeps. best: highest returns, the best of each game first; latest: newest episodes."""
    return_text: Literal["turn", "prefix"] = "turn"
    """Where the optimizer decision states a return. turn: at each turn, the return from this turn on; prefix: once, as
    Turner and Einhorn (2023) do."""
    sharded_play: Literal["auto", "whole", "layers"] = "auto"
    """How a sharded trunk plays. whole: gathered once for each rollout; layers: layer by layer in each forward
    pass, so that no device holds it all; auto: whole if it fits."""
    wanted_return: float | None = None
    """Target return of the optimizer decision, in play and evaluations. none: the best return in --data."""

    @property
    def recorded_episodes(self) -> int:
        """Number of episodes per rollout that are taken from `data`."""
        return max(1, round(self.data_share * self.episodes)) if self.data else 0

    @property
    def own_episodes(self) -> int:
        """Number of episodes per rollout that the run plays itself."""
        return self.episodes - self.recorded_episodes


class ImitationConfig(Config):
    """Settings of the optimizers `imitation` and `rejection`."""

    expert: Literal["walkthrough", "policy"] = "walkthrough"
    """Preferred expert. walkthrough: the game's walkthrough until a deviation; policy: the game's policy_commands."""
    beta: Fraction = 1.0
    """Probability that the expert plays a turn instead of the model (DAgger); 1 is behaviour cloning."""
    beta_decay: Fraction = 1.0
    """Factor by which beta is multiplied after each rollout."""
    greedy_share: Fraction = 0.0
    """Fraction of episodes in which the model plays greedily on its own turns (DAgger)."""
    top_fraction: PositiveFraction = 0.25
    """Fraction of each game's episodes, best returns first, that rejection imitates in addition to won episodes."""

    @property
    def model_plays(self) -> bool:
        return self.beta * self.beta_decay < 1

    def beta_at(self, iteration: int) -> float:
        """Return beta in the given iteration. Iterations count from 0."""
        return float(self.beta * self.beta_decay**iteration)

    @property
    def needs_policy(self) -> bool:
        """Whether the games must compute `info["policy_commands"]`, which is slow."""
        return self.expert == "policy" or self.model_plays


class ProbeConfig(Config):
    """Settings of the probes, which measure generated texts during training."""

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
    """Settings of the evaluation on held-out games. The model plays alone, without an expert or shaped rewards."""

    eval_game: str = ""
    """Held-out GAME that the model plays alone during training; the best agent is kept. Empty evaluates nothing."""
    eval_every: PositiveInt = 10
    """Rollouts between evaluations. There is also one evaluation before the training and one at its end."""
    eval_episodes: Size = 20
    """Episodes of each evaluation."""
