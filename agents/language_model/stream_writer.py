"""Appends the texts of a game to token streams, and builds the tries of commands."""

from typing import Any

from agents.language_model.token_stream import TokenStream
from agents.model.command_trie import Trie, build_trie
from agents.protocol import AgentError, Turn
from agents.text.prompt import PromptFormat
from agents.text.stream_tokenizer import StreamTokenizer

MAX_TRIES = 8192
"""Maximum number of cached tries. A full cache is emptied."""


class StreamWriter:
    """Appends texts to streams of at most `context` tokens."""

    def __init__(self, tokenizer: Any, prompt: PromptFormat, *, context: int) -> None:
        self.tokenizer, self.prompt, self.context = StreamTokenizer(tokenizer), prompt, context
        self.tokens = 0  # number of tokens of all streams so far
        self._tries: dict[tuple[str, ...], Trie] = {}

    def append(self, stream: TokenStream, observation: str, *, first: bool, reserve: int) -> bool:
        """Append an observation. Return whether the stream was cut to leave room for `reserve` more tokens."""
        prompt, return_to_go = stream.prompt, stream.return_to_go
        text = self.prompt.before_command(observation, game_prompt=prompt, first=first, return_to_go=return_to_go)
        self.extend(stream, self.tokenizer.begin(text) if first else self.tokenizer.encode(text))
        if not stream.tokens:
            raise AgentError("the game opens without any text; a language model needs at least one token to read")
        if first:
            stream.opening_length = min(len(stream.tokens), self.context // 4)
        if len(stream.tokens) + reserve <= self.context:
            return False
        room = self.context - reserve
        if room < 1:
            raise AgentError(f"a command of {reserve} tokens does not fit into a context of {self.context} tokens")
        stream.opening_length = min(stream.opening_length, room // 2)
        stream.cut(max(1, min(self.context // 2, room) - stream.opening_length))
        return True

    def extend(self, stream: TokenStream, tokens: tuple[int, ...] | list[int]) -> None:
        stream.tokens += tokens
        self.tokens += len(tokens)

    def command_tokens(self, text: str, turn: Turn) -> list[int]:
        """Return the tokens of a command without the terminator."""
        return self.tokenizer.encode(self.prompt.command(text, game_prompt=turn.prompt))

    def terminator_tokens(self, turn: Turn) -> list[int]:
        return self.tokenizer.encode(self.prompt.after_command(game_terminator=turn.terminator))

    def trie(self, turn: Turn) -> Trie:
        key = (turn.prompt, turn.terminator, *turn.info["admissible_commands"])
        if key not in self._tries:
            if len(self._tries) >= MAX_TRIES:
                self._tries.clear()
            terminator = self.terminator_tokens(turn)
            commands = [self.command_tokens(command, turn) + terminator for command in key[2:]]
            try:
                self._tries[key] = build_trie(commands)
            except ValueError as error:
                raise AgentError(f"{turn.game}: the agent cannot tell the commands apart: {error}") from error
        return self._tries[key]
