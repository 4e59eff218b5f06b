"""One episode as one token stream: the game's text, the agent's commands, and a record of every choice.

A `TokenStream` grows with the episode; `finish` turns it into immutable `Segment`s, the samples of the update. Only
choices among several tokens are actions. The discount spans forced tokens and forced turns.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One action: a token that the agent chose among several."""

    position: int
    """Index in the segment's tokens of the last token before the choice, whose hidden state chose."""
    turn: int
    """Turn of the episode; a command may consist of several choices."""
    alternatives: tuple[int, ...]
    """Token ids that could be chosen; only the chosen one in free generation."""
    chosen: int
    """Index of the chosen token among the alternatives."""
    logprob: float
    """log pi(chosen token | stream), nats."""
    value: float
    """v(s), units of reward."""
    q_value: float
    """q(s, chosen token), units of reward; the minimum over Q heads, from target heads where there are any."""
    entropy: float
    """Entropy of the choice, nats."""
    reward: float = 0.0
    """Discounted reward from here to the next choice."""
    discount: float = 1.0
    """gamma_t: 1 inside a command, gamma^k over k turns, 0 if the episode terminated."""
    next_value: float = 0.0
    """v at the next choice, or the bootstrap of a truncated episode; meaningless at discount 0."""
    label: int | None = None
    """Index among the alternatives of the token to imitate, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished piece of a stream: one row of the update's batch, with L tokens and T >= 1 choices."""

    episode: int
    """Number of the episode."""
    tokens: NDArray[np.int64]
    """[L] the stream up to the last choice; later tokens have no effect."""
    choices: tuple[Choice, ...]
    """[T] in order of time."""
    whole_vocabulary: bool = False
    """True in free generation."""

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("a segment needs at least one choice")
        if self.choices[-1].position != len(self.tokens) - 1:
            raise ValueError(
                f"tokens must end at the last choice's position {self.choices[-1].position}, got {len(self.tokens)}"
            )


@dataclass(slots=True)
class TokenStream:
    """Tokens and choices of a live episode."""

    episode: int
    gamma: float
    tokens: list[int] = field(default_factory=list)
    """Of the current segment."""
    choices: list[Choice] = field(default_factory=list)
    """Of the whole episode."""
    opening: int = 0
    """Number of tokens of the opening text, repeated after a cut so that the objective stays visible."""
    turn: int = -1
    _cuts: list[tuple[int, list[int]]] = field(default_factory=list)
    """(number of choices before the cut, tokens of the segment that ended there)."""

    def record(self, choice: Choice) -> None:
        """Append a choice; its value is the next value of the choice before."""
        if self.choices:
            self.choices[-1] = replace(self.choices[-1], next_value=choice.value)
        self.choices.append(choice)

    def begin_turn(self, reward: float) -> None:
        """Add the reward of the last command, and a turn's discount, to the last choice."""
        self.turn += 1
        self._add_reward(reward, self.gamma)

    def cut(self, keep: int) -> None:
        """Begin a new segment with the opening and the last `keep` >= 1 tokens; the caller clears the cache row."""
        self._cuts.append((len(self.choices), self.tokens))
        self.tokens = self.tokens[: self.opening] + self.tokens[-keep:]

    def finish(self, reward: float, *, bootstrap: float | None, whole_vocabulary: bool = False) -> list[Segment]:
        """Close the episode.

        Args:
            reward: reward of the last command.
            bootstrap: v of the final state of a truncated episode; None if the episode terminated.

        Returns:
            The segments with choices, in order of time.
        """
        self._add_reward(reward, 0.0 if bootstrap is None else self.gamma)
        if self.choices and bootstrap is not None:
            self.choices[-1] = replace(self.choices[-1], next_value=bootstrap)
        segments, start = [], 0
        for end, tokens in [*self._cuts, (len(self.choices), self.tokens)]:
            choices = tuple(self.choices[start:end])
            if choices:
                used = np.asarray(tokens[: choices[-1].position + 1], dtype=np.int64)
                segments.append(
                    Segment(episode=self.episode, tokens=used, choices=choices, whole_vocabulary=whole_vocabulary)
                )
            start = end
        return segments

    def _add_reward(self, reward: float, discount: float) -> None:
        if self.choices:  # no choice caused the rewards before the first one
            last = self.choices[-1]
            self.choices[-1] = replace(
                last, reward=last.reward + last.discount * reward, discount=last.discount * discount
            )


@dataclass(slots=True)
class EpisodeState:
    """The agent's state of a live episode."""

    stream: TokenStream
    row: int
    """Row of the key/value cache."""
    rng: np.random.Generator
    prompt: str
    """The game's prompt."""
