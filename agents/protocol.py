"""What an agent is: it chooses one command for every live episode, all at once.

Agents batch, games do not. The runner (`agents/play/runner.py`) collects what every live episode shows into
`Turn`s, asks the agent once, and tells it with an `EpisodeEnd` when an episode is over. Nothing here needs
torch: random, human and walkthrough agents are a few lines each (`agents/play/baselines.py`), the language
model is one more agent (`agents/language_model/agent.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class AgentError(ValueError):
    """A user's mistake about an agent, a checkpoint or a run; the message is one clear line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one live episode shows when a command is wanted."""

    episode: int
    """Names the episode; the same number at every turn of it, never used again in a run."""
    game: str
    """Canonical name of the game (`games.GameSpec.name`)."""
    observation: str
    """The game's text since the agent's last command; the opening text on the first turn."""
    info: Mapping[str, Any]
    """The game's info; `admissible_commands` is a sorted list of str, never empty here."""
    reward: float
    """What the command before earned, in the units the learner sees (shaped); 0 on the first turn."""
    first: bool
    """True on the first turn of the episode."""
    prompt: str = "\n> "
    """Text that the game writes before a command (its metadata's `prompt`)."""
    terminator: str = "\n"
    """Text that ends a command (its metadata's `terminator`); may be empty in one-word games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The command for one turn, and what the agent knows about its choice."""

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
    """How one episode ended: the last text and reward, and whether there is a future to value."""

    episode: int
    observation: str
    info: Mapping[str, Any]
    reward: float
    terminated: bool
    """True: the game is over and the value after it is 0."""
    truncated: bool
    """True: the turn limit cut the episode; the value after it is bootstrapped."""


@runtime_checkable
class Agent(Protocol):
    """Anything that plays. `act` gets all live episodes and returns one decision each, in order."""

    name: str

    def act(self, turns: Sequence[Turn]) -> list[Decision]: ...

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...
