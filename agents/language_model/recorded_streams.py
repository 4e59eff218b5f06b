"""Token streams of recorded play: the segments that an agent would have recorded if it had played the same commands.

Recording needs no model. Log-probabilities, v, q and entropies are 0 at first, and `evaluated` replaces them by the
results of the model. If an episode was truncated, an additional last choice stands for the final state, because v of
this state is needed for bootstrapping.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agents.language_model.agent import MAX_COMMAND_TOKENS, Mode
from agents.language_model.command_policy import TurnOutputs, choices_for_command
from agents.language_model.stream_writer import StreamWriter
from agents.language_model.token_stream import Choice, Segment, TokenStream
from agents.model.command_trie import Trie
from agents.protocol import EpisodeEnd, Turn
from agents.text.prompt import PromptFormat


class StreamRecorder:
    """Converts recorded episodes to segments. The arguments are those of `LanguageModelAgent`.

    In the mode `trie`, a recorded command that is not admissible is part of the stream, but has no choices. In the mode
    `free`, each token of a command is a choice, and so is the first token of the terminator. If the game has no
    terminator, the end of a text is no choice, because a transcript does not tell how the text ended.
    """

    def __init__(self, tokenizer: Any, prompt: PromptFormat, *, mode: Mode, context: int, gamma: float) -> None:
        self.mode, self.gamma = mode, gamma
        self._remaining = 0.0  # return of the episode from the current turn on
        self._writer = StreamWriter(tokenizer, prompt, context=context)

    def record(
        self, turns: Sequence[Turn], commands: Sequence[str], imitated: Sequence[bool], end: EpisodeEnd
    ) -> list[Segment]:
        """Return the segments of an episode, in order of time.

        Args:
            turns: the episode's turns.
            commands: the command of each turn.
            imitated: for each turn, whether the choices that lead to its command are labelled.
            end: the end of the episode.
        """
        stream = TokenStream(episode=end.episode, gamma=self.gamma)
        write = self._free if self.mode == "free" else self._admissible
        self._remaining = sum(turn.reward for turn in turns) + end.reward
        for turn, command, label in zip(turns, commands, imitated, strict=True):
            stream.begin_turn(turn.reward)
            self._remaining -= turn.reward
            write(stream, turn, command, label=label)
        if end.truncated and not end.terminated:
            stream.begin_turn(end.reward)
            self._remaining -= end.reward
            self._append(stream, turns[0], end.observation, first=False, reserve=0)
            stream.record(_choice(stream, (stream.tokens[-1],), None))
            return stream.finish(0.0, bootstrap=None, whole_vocabulary=self.mode == "free")
        return stream.finish(end.reward, bootstrap=None, whole_vocabulary=self.mode == "free")

    def _append(self, stream: TokenStream, turn: Turn, observation: str, *, first: bool, reserve: int) -> None:
        text: dict[str, Any] = {"game_prompt": turn.prompt, "first": first, "remaining": self._remaining}
        self._writer.append(stream, observation, **text, reserve=reserve)

    def _admissible(self, stream: TokenStream, turn: Turn, command: str, *, label: bool) -> None:
        names = list(turn.info["admissible_commands"])
        if command not in names:
            tokens = self._writer.command(command, turn) + self._writer.end_of_command(turn)
            self._append(stream, turn, turn.observation, first=turn.first, reserve=len(tokens))
            self._writer.extend(stream, tokens)
            return
        trie, index = self._writer.trie(turn), names.index(command)
        self._append(stream, turn, turn.observation, first=turn.first, reserve=max(map(len, trie.commands)))
        position = len(stream.tokens) - 1
        for choice in choices_for_command(
            _zeros(trie), index, position=position, turn=stream.turn, label=index if label else None
        ):
            stream.record(choice)
        self._writer.extend(stream, trie.commands[index])

    def _free(self, stream: TokenStream, turn: Turn, command: str, *, label: bool) -> None:
        tokens, end = self._writer.command(command, turn), self._writer.end_of_command(turn)
        reserve = max(len(tokens) + len(end), MAX_COMMAND_TOKENS + 1)  # as for a text that the agent generates
        self._append(stream, turn, turn.observation, first=turn.first, reserve=reserve)
        for token in [*tokens, *end[:1]]:
            stream.record(_choice(stream, (token,), 0 if label else None))
            self._writer.extend(stream, [token])
        self._writer.extend(stream, end[1:])


def evaluated(segments: Sequence[Segment], numbers: Sequence[Choice], *, truncated: bool) -> list[Segment]:
    """Return the segments of an episode with the choices `numbers`, and set `next_value` of each choice.

    If `truncated`, remove the last choice, which stands for the final state. Segments without a choice are left out.

    Args:
        segments: the result of `StreamRecorder.record`.
        numbers: the choices of all segments in order, after the model has computed their logprob, value, q_value and
            entropy. They replace the choices in `segments`.
        truncated: whether the last choice stands for the final state of a truncated episode.
    """
    following = [choice.value for choice in numbers[1:]]
    choices = [replace(choice, next_value=v) for choice, v in zip(numbers, [*following, 0.0], strict=True)]
    remaining = iter(choices)
    filled = [tuple(next(remaining) for _ in segment.choices) for segment in segments]
    if truncated:
        filled[-1] = filled[-1][:-1]
    return [
        replace(segment, choices=own, tokens=segment.tokens[: own[-1].position + 1])
        for segment, own in zip(segments, filled, strict=True)
        if own
    ]


def _choice(stream: TokenStream, alternatives: tuple[int, ...], label: int | None) -> Choice:
    """Build the choice that follows the stream: the first of the tokens `alternatives` is the chosen one.

    `label` is the index of the alternative to imitate, or None.
    """
    return Choice(position=len(stream.tokens) - 1, turn=stream.turn, alternatives=alternatives, chosen=0, label=label)


def _zeros(trie: Trie) -> TurnOutputs:
    """Return outputs that are 0 at all branching nodes of a trie, in place of the outputs of a model."""
    rows, columns = len(trie.branching), max(map(len, trie.alternatives), default=1)
    return TurnOutputs(trie=trie, logprobs=np.zeros((rows, columns)), values=np.zeros(rows))
