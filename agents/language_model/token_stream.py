"""One episode is one token stream: what the game wrote, what the agent chose, and what it thought when it chose.

A `TokenStream` grows while the episode lives; `finish` turns it into immutable `Segment`s, the samples of the
update. Observation tokens are the game's, command tokens the agent's; only choices (several alternatives)
are actions, forced tokens and forced turns are bridged by the discount. Knows token ids and floats only.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One action: a token that the agent chose among several."""

    position: int
    """Index in the segment's tokens of the last token before the choice; its hidden state chose."""
    turn: int
    """Turn of the episode that the choice belongs to; a command may take several choices."""
    alternatives: tuple[int, ...]
    """Token ids that could be chosen; only the chosen one where the whole vocabulary was open."""
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
    """Discounted reward earned from here to the next choice."""
    discount: float = 1.0
    """gamma_t: 1 inside a command, gamma^k over k turns, 0 where the episode terminated."""
    next_value: float = 0.0
    """v at the next choice, or the bootstrap where the stream was cut; meaningless at discount 0."""
    label: int | None = None
    """Index among the alternatives of what should be imitated here; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished piece of a stream: one row of the update's batch. L tokens, T choices, T >= 1."""

    episode: int
    """Number of the episode that the segment is a piece of."""
    tokens: NDArray[np.int64]
    """[L] the stream up to the last choice; what comes after cannot matter."""
    choices: tuple[Choice, ...]
    """[T] in order of time."""
    whole_vocabulary: bool = False
    """True where tokens were generated freely."""

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("a segment needs at least one choice")
        if self.choices[-1].position != len(self.tokens) - 1:
            raise ValueError(
                f"tokens must end at the last choice's position {self.choices[-1].position}, got {len(self.tokens)}"
            )


@dataclass(slots=True)
class TokenStream:
    """A live episode's tokens and choices. `cached` counts the tokens that are in the key/value cache."""

    episode: int
    gamma: float
    tokens: list[int] = field(default_factory=list)
    cached: int = 0
    row: int = -1
    """Row of the cache; -1 while there is none."""
    opening: int = 0
    """Number of tokens of the opening text, repeated after a cut so that the objective stays in sight."""
    turn: int = -1
    _choices: list[Choice] = field(default_factory=list)
    _cuts: list[tuple[int, list[int]]] = field(default_factory=list)
    """(number of choices made before the cut, tokens of the segment that ended there)."""

    @property
    def pending(self) -> list[int]:
        """Tokens that the trunk has not read yet."""
        return self.tokens[self.cached :]

    def record(self, choice: Choice) -> None:
        """Record a choice; the one before now knows its next value."""
        if self._choices:
            self._choices[-1] = replace(self._choices[-1], next_value=choice.value)
        self._choices.append(choice)

    def begin_turn(self, reward: float, *, first: bool) -> None:
        """Book the reward of the command before and one turn's discount on the last choice."""
        self.turn += 1
        if not first:
            self._book(reward, self.gamma)

    def cut(self, keep: int) -> None:
        """Begin a new segment with the opening and the last `keep` tokens; the cache row must be read anew."""
        self._cuts.append((len(self._choices), self.tokens))
        tail = self.tokens[-keep:] if keep else []
        self.tokens = self.tokens[: self.opening] + tail
        self.cached = 0

    def finish(self, reward: float, *, bootstrap: float | None, whole_vocabulary: bool = False) -> list[Segment]:
        """Close the episode.

        Args:
            reward: what the last command earned.
            bootstrap: v of the state after it where the episode was truncated; None where it terminated.

        Returns:
            The segments that hold choices, in order of time.
        """
        self._book(reward, self.gamma if bootstrap is not None else 0.0)
        if self._choices and bootstrap is not None:
            self._choices[-1] = replace(self._choices[-1], next_value=bootstrap)
        segments, start = [], 0
        for end, tokens in [*self._cuts, (len(self._choices), self.tokens)]:
            choices = tuple(self._choices[start:end])
            if choices:
                used = np.asarray(tokens[: choices[-1].position + 1], dtype=np.int64)
                segments.append(
                    Segment(episode=self.episode, tokens=used, choices=choices, whole_vocabulary=whole_vocabulary)
                )
            start = end
        return segments

    def _book(self, reward: float, discount: float) -> None:
        if self._choices:  # rewards before the first choice were nobody's doing
            last = self._choices[-1]
            self._choices[-1] = replace(
                last, reward=last.reward + last.discount * reward, discount=last.discount * discount
            )
