"""Token streams: the texts of a game and the agent's commands.

Tokens that the agent sampled among several are choices. A stream that outgrows the context is cut into segments.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A token that the agent sampled among several.

    Attributes:
        position: index of the token before the choice, at which the heads are evaluated.
        alternatives: ids of the possible tokens. Free generation lists only the chosen one.
        chosen: index of the chosen token among the alternatives.
        logprob: log pi(chosen token | stream), nats.
        value: v(s), units of reward.
        q_value: q(s, chosen token), units of reward.
        entropy: entropy of the policy, nats.
        reward: discounted sum of the rewards until the next choice.
        discount: gamma^k for k turns until the next choice, or 0 if the episode terminates first.
        next_value: v at the next choice, or at the end of a truncated episode.
        label: index of the token to imitate, if any.
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
    """A finished part of a stream, with L tokens and T >= 1 choices.

    `tokens` [L] ends at the last choice. `choices` [T] are in order of time.
    """

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
    """The stream of a live episode.

    Attributes:
        gamma: discount per turn.
        remaining: return-to-go at the current turn. In play, it starts at the wanted return.
        tokens: tokens of the current segment.
        choices: choices of the whole episode.
        opening: number of opening tokens, which every segment repeats.
        _cuts: for each cut, the number of choices before it, and the tokens of the segment that ended.
    """

    episode: int
    gamma: float
    prompt: str = ""
    remaining: float = 0.0
    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    opening: int = 0
    turn: int = -1
    _cuts: list[tuple[int, list[int]]] = field(default_factory=list)

    def record(self, choice: Choice) -> None:
        """Append a choice. Its value becomes the `next_value` of the previous choice."""
        if self.choices:
            self.choices[-1] = replace(self.choices[-1], next_value=choice.value)
        self.choices.append(choice)

    def begin_turn(self, reward: float) -> None:
        """Begin a turn. `reward` is the reward of the last command."""
        self.turn += 1
        self.remaining -= reward
        self._add_reward(reward, self.gamma)

    def cut(self, keep: int) -> None:
        """End the segment. The next one begins with the opening and the last `keep` >= 1 tokens.

        The caller must release the cache row, because the positions change.
        """
        self._cuts.append((len(self.choices), self.tokens))
        self.tokens = self.tokens[: self.opening] + self.tokens[-keep:]

    def finish(self, reward: float, *, bootstrap: float | None, whole_vocabulary: bool = False) -> list[Segment]:
        """Close the episode. Return the segments that contain choices, in order of time.

        `bootstrap` is v of the final state if the episode was truncated.
        """
        self._add_reward(reward, 0.0 if bootstrap is None else self.gamma)
        if self.choices and bootstrap is not None:
            self.choices[-1] = replace(self.choices[-1], next_value=bootstrap)
        segments, start = [], 0
        for end, tokens in [*self._cuts, (len(self.choices), self.tokens)]:
            if choices := tuple(self.choices[start:end]):
                used = np.asarray(tokens[: choices[-1].position + 1], dtype=np.int64)
                segments.append(
                    Segment(episode=self.episode, tokens=used, choices=choices, whole_vocabulary=whole_vocabulary)
                )
            start = end
        return segments

    def _add_reward(self, reward: float, discount: float) -> None:
        if self.choices:  # rewards before the first choice are not caused by a choice
            last = self.choices[-1]
            self.choices[-1] = replace(
                last, reward=last.reward + last.discount * reward, discount=last.discount * discount
            )


@dataclass(slots=True)
class EpisodeState:
    """A live episode. `row` is its cache row, and `seen` the number of tokens that the reader has counted."""

    stream: TokenStream
    rng: np.random.Generator
    row: int | None = None
    seen: int = 0
