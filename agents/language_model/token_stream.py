"""Token streams: what the model reads during an episode, and the choices that the update trains on.

A stream is the token sequence of an episode: the game's text and the agent's commands. A choice is a token that the
agent sampled from several alternatives. Only choices are actions. All other tokens of a command are forced, because
they have no alternative.

A stream that outgrows the context window is cut: the model continues with a shorter sequence, which consists of the
opening text and the latest tokens. The sequences between cuts are segments.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One action: a token that the agent sampled from several alternatives.

    In recorded play, logprob, value, q_value and entropy are 0 until the model has evaluated the choice.

    Attributes:
        position: index of the token directly before the choice. The heads are evaluated at this token.
        turn: number of the turn in the episode. A command may consist of several choices.
        alternatives: ids of the tokens that could be chosen. In free generation, only the chosen token is listed.
        chosen: index of the chosen token among the alternatives.
        logprob: log pi(chosen token | stream), nats.
        value: v(s), units of reward.
        q_value: q(s, chosen token), units of reward (see `HeadOutputs.recorded_q`).
        entropy: entropy of the policy at this choice, nats.
        reward: discounted sum of the rewards between this choice and the next one.
        discount: gamma_t in [0, 1]: 1 between two choices of a command, gamma^k across k turns, and 0 if the episode
            terminates before another choice.
        next_value: v at the next choice or at the end of a truncated episode. It is not used if the discount is 0.
        label: index of the token to imitate among the alternatives. None if no token is to be imitated.
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
    """A finished segment of a stream, with L tokens and T >= 1 choices. It is one row of the update's batch.

    Attributes:
        tokens: [L] the tokens up to the last choice. Later tokens have no effect on the update.
        choices: [T] the choices in order of time.
        whole_vocabulary: True in free generation, where the policy samples from the whole vocabulary.
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
    """The stream of a live episode: its tokens, its choices, and where it was cut into segments.

    Attributes:
        gamma: discount per turn.
        prompt: the prompt of the game.
        remaining: return-to-go at the current turn. In play, it is the wanted return minus the rewards so far. In
            recorded play, it is the sum of the rewards that follow.
        tokens: tokens of the current segment, which the model can attend to.
        choices: choices of the whole episode, also those of earlier segments.
        opening: number of tokens of the opening text, which every segment repeats so that the objective stays visible.
        turn: number of the current turn in the episode, or -1 before the first turn.
        _cuts: a tuple for each cut: the number of choices before the cut, and the tokens of the segment that ended.
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
        """Begin a turn. `reward` is the reward of the last command.

        Add the reward to the last choice, and multiply the discount of this choice by gamma.
        """
        self.turn += 1
        self.remaining -= reward
        self._add_reward(reward, self.gamma)

    def cut(self, keep: int) -> None:
        """End the current segment. The next one begins with the opening text and the last `keep` >= 1 tokens.

        The caller must release the episode's cache row, because the positions of the tokens change.
        """
        self._cuts.append((len(self.choices), self.tokens))
        self.tokens = self.tokens[: self.opening] + self.tokens[-keep:]

    def finish(self, reward: float, *, bootstrap: float | None, whole_vocabulary: bool = False) -> list[Segment]:
        """Close the episode. Return the segments that contain a choice, in order of time.

        `reward` is the reward of the last command. If the episode was truncated, `bootstrap` is v of its final state.
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
    """State of a live episode.

    Attributes:
        row: row of the key/value cache that holds the stream. None if no row is in use.
        seen: number of tokens of the current segment that `StreamReader.tokens` already counts.
    """

    stream: TokenStream
    rng: np.random.Generator
    row: int | None = None
    seen: int = 0
