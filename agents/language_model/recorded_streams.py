"""Token streams of recorded play, as an agent would have recorded them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agents.language_model.agent import MAX_COMMAND_TOKENS, Mode
from agents.language_model.command_policy import TurnOutputs, record_command
from agents.language_model.stream_writer import StreamWriter
from agents.language_model.token_stream import Choice, Segment, TokenStream
from agents.model.command_trie import Trie
from agents.protocol import EpisodeEnd, Turn
from agents.text.prompt import PromptFormat


class StreamRecorder:
    """Converts recorded episodes to segments, in which all outputs of the model are 0.

    In `trie` mode, an inadmissible command has no choices. In `free` mode, each token of a command and the first token
    of its terminator are choices.
    """

    def __init__(self, tokenizer: Any, prompt: PromptFormat, *, mode: Mode, context: int, gamma: float) -> None:
        self.mode, self.gamma = mode, gamma
        self._writer = StreamWriter(tokenizer, prompt, context=context)

    def record(
        self, turns: Sequence[Turn], commands: Sequence[str], imitated: Sequence[bool], end: EpisodeEnd
    ) -> list[Segment]:
        """Return the segments of an episode, in order of time. `imitated` says which commands get labels.

        A truncated episode has an additional last choice for its final state.
        """
        total = sum(turn.reward for turn in turns) + end.reward
        prompt = turns[0].prompt if turns else ""
        stream = TokenStream(episode=end.episode, gamma=self.gamma, prompt=prompt, remaining=total)
        write = self._free if self.mode == "free" else self._admissible
        for turn, command, label in zip(turns, commands, imitated, strict=True):
            stream.begin_turn(turn.reward)
            write(stream, turn, command, label=label)
        truncated = end.truncated and not end.terminated
        if truncated:
            stream.begin_turn(end.reward)
            self._writer.append(stream, end.observation, first=False, reserve=0)
            stream.record(_choice(stream, stream.tokens[-1], None))
        reward = 0.0 if truncated else end.reward
        return stream.finish(reward, bootstrap=None, whole_vocabulary=self.mode == "free")

    def _admissible(self, stream: TokenStream, turn: Turn, command: str, *, label: bool) -> None:
        names = list(turn.info["admissible_commands"])
        if command not in names:
            tokens = self._writer.command(command, turn) + self._writer.end_of_command(turn)
            self._writer.append(stream, turn.observation, first=turn.first, reserve=len(tokens))
            self._writer.extend(stream, tokens)
            return
        trie, index = self._writer.trie(turn), names.index(command)
        self._writer.append(stream, turn.observation, first=turn.first, reserve=max(map(len, trie.commands)))
        record_command(stream, _zeros(trie), index, index if label else None)
        self._writer.extend(stream, trie.commands[index])

    def _free(self, stream: TokenStream, turn: Turn, command: str, *, label: bool) -> None:
        tokens, end = self._writer.command(command, turn), self._writer.end_of_command(turn)
        reserve = max(len(tokens) + len(end), MAX_COMMAND_TOKENS + 1)  # as for a text that the agent generates
        self._writer.append(stream, turn.observation, first=turn.first, reserve=reserve)
        for token in [*tokens, *end[:1]]:
            stream.record(_choice(stream, token, 0 if label else None))
            self._writer.extend(stream, [token])
        self._writer.extend(stream, end[1:])


def evaluated(segments: Sequence[Segment], numbers: Sequence[Choice], *, truncated: bool) -> list[Segment]:
    """Replace the choices of segments by `numbers`. If `truncated`, remove the additional last one."""
    following = [*(choice.value for choice in numbers[1:]), 0.0]
    remaining = (replace(choice, next_value=v) for choice, v in zip(numbers, following, strict=True))
    filled = [tuple(next(remaining) for _ in segment.choices) for segment in segments]
    if truncated:
        filled[-1] = filled[-1][:-1]
    return [
        replace(segment, choices=own, tokens=segment.tokens[: own[-1].position + 1])
        for segment, own in zip(segments, filled, strict=True)
        if own
    ]


def _choice(stream: TokenStream, token: int, label: int | None) -> Choice:
    return Choice(position=len(stream.tokens) - 1, turn=stream.turn, alternatives=(token,), chosen=0, label=label)


def _zeros(trie: Trie) -> TurnOutputs:
    rows, columns = len(trie.branching), max(map(len, trie.alternatives), default=1)
    return TurnOutputs(trie=trie, logprobs=np.zeros((rows, columns)), values=np.zeros(rows))
