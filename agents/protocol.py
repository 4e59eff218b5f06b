"""The agent protocol. An agent acts in a batch of episodes. Each episode has its own environment."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable


class AgentError(ValueError):
    """A user's mistake about an agent, a checkpoint or a run. The message is one line."""


class DivergenceError(AgentError):
    """A number of a model or of its training is infinite or NaN. The message names it."""


class LostProcessError(Exception):
    """Another process of the run has ended, or does not answer. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What an agent sees of a live episode before it chooses a command.

    Attributes:
        episode: number of the episode, unique in a run.
        game: canonical name of the game (`games.GameSpec.name`).
        observation: the game's response to the last command. On the first turn, the game's opening text.
        info: the game's info. `info["admissible_commands"]` is a sorted list of str. The list may be empty only if the
            agent's attribute `writes_freely` is True.
        reward: shaped reward of the last command, or 0 on the first turn.
        first: whether this is the first turn of the episode.
        prompt, terminator: text before and after a command, from the game's metadata. Both may be empty, as in the
            bandit.
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
    """A generated token with log pi(token | history) in nats, and v(s) and q(s, token) in units of shaped reward.

    Without Q heads, q is None.
    """

    text: str
    logprob: float
    value: float
    q_value: float | None

    @property
    def probability(self) -> float:
        return math.exp(min(self.logprob, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The agent's command for one turn. Fields that the agent does not compute are empty or None.

    Attributes:
        probabilities: pi(command | history) of every admissible command, summing to 1.
        value: v(s), in units of shaped reward.
        q_values: q(s, command) of every admissible command, in units of shaped reward.
        entropy: entropy of pi over the admissible commands, in nats. In free generation, the entropies of pi over the
            next token are summed over the text. This sum is an unbiased estimate of the entropy of pi over texts.
        tokens: the tokens of a generated text, in order.
        by_expert: whether an expert chose `command`. The agent still computes all other fields.
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
    """The end of an episode: the game is over (`terminated`), or a turn limit or an error ended it (`truncated`).

    The value of the final state is 0 if the game is over, and is bootstrapped otherwise.
    """

    episode: int
    observation: str
    info: Mapping[str, Any]
    reward: float
    terminated: bool
    truncated: bool


@runtime_checkable
class Agent(Protocol):
    """A player of games.

    `act` receives the turns of all live episodes and returns one decision per turn. `end` receives the episodes that
    have just ended.

    An agent may have two more attributes. `writes_freely` is True if the agent needs no admissible commands. `infos`
    lists optional info keys that the agent needs, such as "policy_commands". Games compute them only on request.
    """

    name: str

    def act(self, turns: Sequence[Turn]) -> list[Decision]: ...

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...
