"""The agent protocol. Agents batch, games do not: `act` receives all live episodes and returns one command for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class AgentError(ValueError):
    """A user's mistake about an agent, a checkpoint or a run; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The state of a live episode in which the agent chooses a command."""

    episode: int
    """Number of the episode, unique in a run."""
    game: str
    """Canonical name of the game (`games.GameSpec.name`)."""
    observation: str
    """The game's response to the last command; its opening text on the first turn."""
    info: Mapping[str, Any]
    """The game's info; `admissible_commands` is a sorted list of str, never empty here."""
    reward: float
    """Shaped reward of the last command; 0 on the first turn."""
    first: bool
    """Whether it is the first turn of the episode."""
    prompt: str = "\n> "
    """Text before a command (`prompt` of the game's metadata)."""
    terminator: str = "\n"
    """Text after a command (`terminator` of the game's metadata); may be empty in one-word games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The command for one turn, and the agent's outputs."""

    command: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """pi(command | history) for every admissible command, summing to 1; empty where unknown."""
    value: float | None = None
    """v(s), in units of (shaped) reward; None for agents without a value head."""
    q_values: Mapping[str, float] = field(default_factory=dict)
    """q(s, command), in units of (shaped) reward; empty for agents without a Q head."""
    entropy: float | None = None
    """Entropy of the distribution over commands, nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """The end of an episode: the last text and reward, and whether the value after it is 0."""

    episode: int
    observation: str
    info: Mapping[str, Any]
    reward: float
    terminated: bool
    """The game is over; the value after it is 0."""
    truncated: bool
    """The turn limit or an error ended the episode; the value after it is bootstrapped."""


@runtime_checkable
class Agent(Protocol):
    """Plays games: `act` returns one decision for each live episode, in order; `end` closes episodes."""

    name: str

    def act(self, turns: Sequence[Turn]) -> list[Decision]: ...

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...
