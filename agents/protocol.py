"""The agent protocol.

Agents are batched: `act` receives the turns of all live episodes and returns one decision per turn. Games are not
batched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class AgentError(ValueError):
    """A user's mistake about an agent, a checkpoint or a run. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What an agent sees of a live episode before it chooses a command."""

    episode: int
    """Number of the episode, unique in a run."""
    game: str
    """Canonical name of the game (`games.GameSpec.name`)."""
    observation: str
    """The game's response to the last command. On the first turn, the game's opening text."""
    info: Mapping[str, Any]
    """The game's info. Its value `admissible_commands` is a sorted list of str that is never empty here."""
    reward: float
    """Shaped reward of the last command, or 0 on the first turn."""
    first: bool
    """Whether this is the first turn of the episode."""
    prompt: str = "\n> "
    """Text before a command, from the key `prompt` of the game's metadata."""
    terminator: str = "\n"
    """Text after a command, from the key `terminator` of the game's metadata. It may be empty in one-word games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The agent's command for one turn, with its probabilities, values and entropy."""

    command: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """pi(command | history) of every admissible command, summing to 1. It is empty if the agent computes none."""
    value: float | None = None
    """v(s), in units of shaped reward. It is None if the agent has no value head."""
    q_values: Mapping[str, float] = field(default_factory=dict)
    """q(s, command) of every admissible command, in units of shaped reward. It is empty without a Q head."""
    entropy: float | None = None
    """Entropy of pi over the admissible commands, nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """The end of an episode: its last text and reward, and whether it terminated or was truncated."""

    episode: int
    observation: str
    info: Mapping[str, Any]
    reward: float
    terminated: bool
    """Whether the game is over. If it is, the value of the final state is 0."""
    truncated: bool
    """Whether the turn limit or an error ended the episode. If so, the value of the final state is bootstrapped."""


@runtime_checkable
class Agent(Protocol):
    """A player of games.

    `act` returns one decision per turn, in the order of the turns. `end` receives the episodes that have just ended.
    """

    name: str

    def act(self, turns: Sequence[Turn]) -> list[Decision]: ...

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...
