"""Token streams of episodes. A stream that outgrows the context is cut into segments."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A token that the agent sampled from several alternatives.

    Attributes:
        position: index in the stream of the token before the choice.
        alternatives: ids of the possible tokens. In free generation, only the chosen token.
        chosen: index of the chosen token among the alternatives.
        logprob: log pi(chosen token | stream), nats.
        value: v(s), units of reward.
        q_value: q(s, chosen token), units of reward.
        entropy: entropy of the policy, nats.
        reward: discounted sum of the rewards until the next choice.
        discount: gamma^k for k turns until the next choice, or 0 if the episode terminates first.
        next_value: v at the next choice, or at the end of a truncated episode.
        label: index of the alternative to imitate, if any.
    """

    position: int
    turn: int
    alternatives: tuple[int, ...]
    chosen: int
    logprob: float = 0.0
    value: float = 0.0
    q_value: float = 0.0
    entropy: float = 0.0
    reward: float = 0.0
    discount: float = 1.0
    next_value: float = 0.0
    label: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished part of a token stream. `tokens` ends with the token before the last choice."""

    episode: int
    tokens: NDArray[np.int64]
    choices: tuple[Choice, ...]
    whole_vocabulary: bool = False

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("a segment needs at least one choice")
        if self.choices[-1].position != len(self.tokens) - 1:
            raise ValueError(
                f"tokens must end at the last choice's position {self.choices[-1].position}, got {len(self.tokens)}"
            )


@dataclass(slots=True)
class TokenStream:
    """The token stream of a live episode.

    Attributes:
        gamma: discount per turn.
        return_to_go: sum of the rewards from the current turn on. In play, the initial value is the target return.
        tokens: tokens of the current segment.
        choices: choices of the whole episode.
        opening_length: number of opening tokens, which every segment repeats.
    """

    episode: int
    gamma: float
    prompt: str = ""
    return_to_go: float = 0.0
    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    opening_length: int = 0
    turn: int = -1
    # for each cut, the number of choices before it, and the tokens of the segment that ended
    _cuts: list[tuple[int, list[int]]] = field(default_factory=list)

    def record(self, choice: Choice) -> None:
        """Append a choice, and set `next_value` of the previous choice."""
        if self.choices:
            self.choices[-1] = replace(self.choices[-1], next_value=choice.value)
        self.choices.append(choice)

    def begin_turn(self, reward: float) -> None:
        """Begin a turn. `reward` is the reward of the previous command."""
        self.turn += 1
        self.return_to_go -= reward
        self._add_reward(reward, self.gamma)

    def cut(self, tail: int) -> None:
        """End the segment. The next segment begins with the opening tokens and the last `tail` tokens."""
        # the positions change, so the caller must release the cache row
        self._cuts.append((len(self.choices), self.tokens))
        self.tokens = self.tokens[: self.opening_length] + self.tokens[-tail:]

    def finish(self, reward: float, *, bootstrap: float | None, whole_vocabulary: bool = False) -> list[Segment]:
        """Close the episode, and return its segments.

        `bootstrap` is v of the final state if the episode was truncated, or else None.
        """
        self._add_reward(reward, 0.0 if bootstrap is None else self.gamma)
        if self.choices and bootstrap is not None:
            self.choices[-1] = replace(self.choices[-1], next_value=bootstrap)
        segments, start = [], 0
        for end, tokens in [*self._cuts, (len(self.choices), self.tokens)]:
            if choices := tuple(self.choices[start:end]):
                token_ids = np.asarray(tokens[: choices[-1].position + 1], dtype=np.int64)
                segments.append(
                    Segment(episode=self.episode, tokens=token_ids, choices=choices, whole_vocabulary=whole_vocabulary)
                )
            start = end
        return segments

    def _add_reward(self, reward: float, discount: float) -> None:
        if self.choices:  # rewards before the first choice are not caused by a choice
            choice = self.choices[-1]
            self.choices[-1] = replace(
                choice, reward=choice.reward + choice.discount * reward, discount=choice.discount * discount
            )


@dataclass(slots=True)
class EpisodeState:
    """A live episode.

    Attributes:
        row: the episode's cache row.
        counted: number of the episode's tokens that `StreamReader.tokens` includes.
    """

    stream: TokenStream
    rng: np.random.Generator
    row: int | None = None
    counted: int = 0
