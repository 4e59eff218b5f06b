"""Converts recorded episodes to token streams."""

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
    """Converts recorded episodes to segments, with zeros as log-probabilities and values."""

    def __init__(self, tokenizer: Any, prompt: PromptFormat, *, mode: Mode, context: int, gamma: float) -> None:
        self.mode, self.gamma = mode, gamma
        self._writer = StreamWriter(tokenizer, prompt, context=context)

    def record(
        self, turns: Sequence[Turn], commands: Sequence[str], imitated: Sequence[bool], end: EpisodeEnd
    ) -> list[Segment]:
        """Return the segments of an episode. Command i gets labels if `imitated[i]` is True."""
        total = sum(turn.reward for turn in turns) + end.reward
        prompt = turns[0].prompt if turns else ""
        stream = TokenStream(episode=end.episode, gamma=self.gamma, prompt=prompt, return_to_go=total)
        write_command = self._write_free if self.mode == "free" else self._write_admissible
        for turn, command, labelled in zip(turns, commands, imitated, strict=True):
            stream.begin_turn(turn.reward)
            write_command(stream, turn, command, labelled=labelled)
        truncated = end.truncated and not end.terminated
        if truncated:  # an additional last choice stands for the final state
            stream.begin_turn(end.reward)
            self._writer.append(stream, end.observation, first=False, reserve=0)
            stream.record(_choice(stream, stream.tokens[-1], None))
        reward = 0.0 if truncated else end.reward
        return stream.finish(reward, bootstrap=None, whole_vocabulary=self.mode == "free")

    def _write_admissible(self, stream: TokenStream, turn: Turn, command: str, *, labelled: bool) -> None:
        names = list(turn.info["admissible_commands"])
        if command not in names:  # such a command has no choices
            tokens = self._writer.command_tokens(command, turn) + self._writer.terminator_tokens(turn)
            self._writer.append(stream, turn.observation, first=turn.first, reserve=len(tokens))
            self._writer.extend(stream, tokens)
            return
        trie, index = self._writer.trie(turn), names.index(command)
        self._writer.append(stream, turn.observation, first=turn.first, reserve=max(map(len, trie.commands)))
        record_command(stream, _zero_outputs(trie), index, index if labelled else None)
        self._writer.extend(stream, trie.commands[index])

    def _write_free(self, stream: TokenStream, turn: Turn, command: str, *, labelled: bool) -> None:
        tokens, terminator = self._writer.command_tokens(command, turn), self._writer.terminator_tokens(turn)
        reserve = max(len(tokens) + len(terminator), MAX_COMMAND_TOKENS + 1)  # as for a text that the agent generates
        self._writer.append(stream, turn.observation, first=turn.first, reserve=reserve)
        for token in [*tokens, *terminator[:1]]:  # the terminator's first token ends the text, which is a choice
            stream.record(_choice(stream, token, 0 if labelled else None))
            self._writer.extend(stream, [token])
        self._writer.extend(stream, terminator[1:])


def replace_choices(segments: Sequence[Segment], choices: Sequence[Choice], *, truncated: bool) -> list[Segment]:
    """Replace the choices of an episode's segments. If `truncated` is True, remove the last choice."""
    next_values = [*(choice.value for choice in choices[1:]), 0.0]
    new_choices = (replace(choice, next_value=v) for choice, v in zip(choices, next_values, strict=True))
    segment_choices = [tuple(next(new_choices) for _ in segment.choices) for segment in segments]
    if truncated:
        segment_choices[-1] = segment_choices[-1][:-1]
    return [
        replace(segment, choices=choices_left, tokens=segment.tokens[: choices_left[-1].position + 1])
        for segment, choices_left in zip(segments, segment_choices, strict=True)
        if choices_left
    ]


def _choice(stream: TokenStream, token: int, label: int | None) -> Choice:
    return Choice(position=len(stream.tokens) - 1, turn=stream.turn, alternatives=(token,), chosen=0, label=label)


def _zero_outputs(trie: Trie) -> TurnOutputs:
    rows, columns = len(trie.branching), max(map(len, trie.alternatives), default=1)
    return TurnOutputs(trie=trie, logprobs=np.zeros((rows, columns)), values=np.zeros(rows))
