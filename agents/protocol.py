"""The agent protocol and its errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable


class AgentError(ValueError):
    """An error in an agent, a checkpoint or a run. The message is one line."""


class DivergenceError(AgentError):
    """A number in the model or in training is infinite or NaN."""


class LostProcessError(Exception):
    """Another process of the run has ended or does not respond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The input of an agent for one command.

    Attributes:
        episode: number of the episode, unique in a run.
        game: name of the game.
        observation: the game's last text.
        info: info dict of the game. `info["admissible_commands"]` is a list.
        reward: shaped reward of the last command, or 0 on the first turn.
        prompt, terminator: texts before and after a command in a transcript.
    """

    episode: int
    game: str
    observation: str
    info: Mapping[str, Any]
    reward: float
    first: bool
    prompt: str = "\n> "
    terminator: str = "\n"


class GeneratedToken(NamedTuple):
    """A generated token. `logprob` is in nats. `value` and `q_value` are in units of shaped reward."""

    text: str
    logprob: float
    value: float
    q_value: float | None

    @property
    def probability(self) -> float:
        return math.exp(min(self.logprob, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The output of an agent for one turn. Values that the agent does not compute are empty or None.

    Attributes:
        probabilities: probability of each admissible command.
        value, q_values: v(s) and q(s, command), in units of shaped reward.
        entropy: entropy of the policy at this turn, in nats.
        by_expert: whether an expert chose the command.
    """

    command: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None
    q_values: Mapping[str, float] = field(default_factory=dict)
    entropy: float | None = None
    tokens: tuple[GeneratedToken, ...] = ()
    by_expert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """The end of an episode. `truncated` means that a turn limit or an error ended the episode."""

    episode: int
    observation: str
    info: Mapping[str, Any]
    reward: float
    terminated: bool
    truncated: bool


@runtime_checkable
class Agent(Protocol):
    """Plays games. `act` returns one decision per turn, and `end` receives the episodes that have just ended.

    Attributes:
        writes_freely (optional): whether the agent needs no admissible commands.
        infos (optional): keys of the info dict that the agent needs, such as "policy_commands".
    """

    name: str

    def act(self, turns: Sequence[Turn]) -> list[Decision]: ...

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...
