"""Settings of rollouts: how episodes are played, and which recorded episodes join them."""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from actde.config import Config, Fraction, NonNegative, Positive
from actde.errors import ConfigError
from agents.measurement_config import Count, PositiveFraction, Size

GENERATED = re.compile(r"(?P<player>random|expert):(?P<episodes>[1-9][0-9]{0,8})")
"""Matches a source whose episodes are played when the run starts, such as `random:20` (see `RolloutConfig.data`)."""


def source_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of sources of recorded play. Drop repetitions."""
    return tuple(dict.fromkeys(filter(None, text.split(","))))


def _absolute(text: str) -> str:
    """Make the paths of sources absolute, so that they are found from any folder."""
    for name in source_names(text):
        if name.partition(":")[0] in ("random", "expert") and not (GENERATED.fullmatch(name) or Path(name).exists()):
            raise ConfigError(f"--data expects a path, or episodes as in random:20 or expert:20, got {name!r}")
    return ",".join(name if GENERATED.fullmatch(name) else str(Path(name).absolute()) for name in source_names(text))


SourceNames: TypeAlias = Annotated[str, AfterValidator(_absolute)]


class RolloutConfig(Config):
    """How episodes are collected."""

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
    """Own episodes of earlier rollouts that each process keeps and trains on again, in a replay buffer."""
    buffer_keep: Literal["best", "latest"] = "best"
    """Episodes that the buffer keeps. best: highest returns, the best of each game first; latest: the last ones."""
    return_text: Literal["turn", "prefix"] = "turn"
    """How decision states a return. turn: at each turn, what follows; prefix: once, as Turner and Einhorn (2023) do."""
    sharded_play: Literal["auto", "whole", "layers"] = "auto"
    """How a sharded trunk plays. whole: gathered once for each rollout; layers: layer by layer in each pass, so that no
    device holds it all; auto: whole if it fits."""
    wanted_return: float | None = None
    """Return that decision wants in its own play and in evaluations. none: the best return in --data."""

    @property
    def recorded_episodes(self) -> int:
        """Number of episodes of a rollout that are taken from recorded play."""
        return max(1, round(self.data_share * self.episodes)) if self.data else 0

    @property
    def own_episodes(self) -> int:
        """Number of episodes of a rollout that are played anew, rather than taken from recorded play."""
        return self.episodes - self.recorded_episodes
