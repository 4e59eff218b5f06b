"""Prompt formats: the text around observations and commands.

Each turn appends `before_command`, the command and `after_command` to the episode's token stream. Every piece is
tokenized separately and only once. The format `plain` is the text that a player sees in a terminal. The format `chat`
consists of messages in the format of the tokenizer's chat template, for an instruction-tuned model.

`plain` is the default, also for SmolLM2-135M-Instruct. The formats were compared on the walkthroughs of ten `simple`
games (98 commands), with exact probabilities over the admissible commands. The mean log-probability of the right
command is -2.41 nats with `plain`, -2.69 nats with `chat` and -2.72 nats for a uniform choice. The right command is the
most probable one in 23% of the turns with `plain` and in 22% with `chat`.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from agents.protocol import AgentError
from agents.text.return_text import ReturnText
from games.errors import first_line


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """Text around observations and commands.

    `opening` precedes the first observation, and `before_observation` the later ones. `prompt` stands between an
    observation and a command, and `terminator` ends a command. If `prompt` or `terminator` is None, the text of the
    game is used. `returns` adds the text of a return to observations, or is None.
    """

    name: str
    opening: str = ""
    before_observation: str = ""
    prompt: str | None = None
    terminator: str | None = None
    returns: ReturnText | None = None

    def before_command(self, observation: str, *, game_prompt: str, first: bool, remaining: float = 0.0) -> str:
        """Return the text before a command, except the prompt's trailing spaces. `PromptFormat.command` returns these.

        `remaining` is the return from this turn on. The text states it only if the format has `returns`.
        """
        before = self.opening if first else self.before_observation
        if self.returns is not None:
            prompt = self._prompt(game_prompt)
            observation = self.returns.added_to(observation, remaining, first=first, game_prompt=prompt)
        return f"{before}{observation}{self._prompt(game_prompt).rstrip(' ')}"

    def command(self, command: str, *, game_prompt: str) -> str:
        """Return the prompt's trailing spaces and the command.

        The spaces stand here because many tokenizers join a space and the next word in one token.
        """
        prompt = self._prompt(game_prompt)
        return prompt[len(prompt.rstrip(" ")) :] + command

    def after_command(self, *, game_terminator: str) -> str:
        """Return the text that ends a command. With this text, no command is a prefix of another one."""
        return game_terminator if self.terminator is None else self.terminator

    def _prompt(self, game_prompt: str) -> str:
        return game_prompt if self.prompt is None else self.prompt


PLAIN = PromptFormat(name="plain")
FORMATS = ("plain", "chat")
SECONDS = 20.0  # limit of rendering a chat template, which may contain loops
INSTRUCTION = "You are playing a text adventure game. Answer each message with the next command."
FIRST, COMMAND, SECOND = "first-observation", "the-command", "second-observation"  # placeholders in a rendered chat


def prompt_format(name: str, tokenizer: Any, returns: ReturnText | None = None) -> PromptFormat:
    """Return the prompt format called `name`, with its field `returns` set to the argument `returns`.

    `tokenizer` is a tokenizer of the `transformers` library, whose chat template the format `chat` uses.

    Raises:
        AgentError: the name is unknown, or the tokenizer has no chat template that the format `chat` can use.
    """
    if name not in FORMATS:
        raise AgentError(f"unknown prompt format {name!r}; expected {' or '.join(FORMATS)}")
    return replace(PLAIN if name == "plain" else _chat_format(tokenizer), returns=returns)


def _chat_format(tokenizer: Any) -> PromptFormat:
    """Derive a format from the chat template, by rendering a conversation and splitting it at its messages."""
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise AgentError("the trunk's tokenizer has no chat template, which --prompt chat needs; use --prompt plain")
    system = [{"role": "system", "content": INSTRUCTION}]
    try:
        try:
            chat, ended = _render(tokenizer, system, FIRST)
        except TemplateError:  # some templates refuse system messages
            chat, ended = _render(tokenizer, [], f"{INSTRUCTION}\n\n{FIRST}")
        opening, rest = chat.split(FIRST)
        answer, rest = rest.split(COMMAND)
        between, prompt = rest.split(SECOND)
        terminator = ended.split(COMMAND)[1]
    except (TemplateError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        unpacked = type(error) in (ValueError, IndexError)  # a message occurs never or twice in the rendered texts
        why = "it leaves out, repeats or changes a message" if unpacked else first_line(error)
        raise AgentError(
            f"the tokenizer's chat template cannot be used for a game: {why}; use --prompt plain"
        ) from error
    if not terminator or not between.startswith(terminator):
        raise AgentError("the tokenizer's chat template does not end the assistant's messages; use --prompt plain")
    if answer.rstrip(" ") == prompt:
        prompt = answer  # includes the spaces that the model generates before a command
    return PromptFormat(
        name="chat",
        opening=opening,
        before_observation=between.removeprefix(terminator),
        prompt=prompt,
        terminator=terminator,
    )


def _render(tokenizer: Any, system: list[dict[str, str]], first: str) -> tuple[str, str]:
    """Render a conversation in which placeholders stand for observations and commands.

    Return a tuple (chat, ended). `chat` is the text before the second command. `ended` is the text up to the end of the
    message with the first command. `system` holds the system message, if any. `first` is the first message of the user,
    with the placeholder of the first observation.
    """
    messages = [*system, {"role": "user", "content": first}, {"role": "assistant", "content": COMMAND}]
    chat = [*messages, {"role": "user", "content": SECOND}]
    with _time_limit(SECONDS):
        return (
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True),
            tokenizer.apply_chat_template(messages, tokenize=False),
        )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise a `RuntimeError` in the `with` block after `seconds`, for example in an endless loop of a template.

    Only Python code is interrupted.
    """
    end, before = time.monotonic() + seconds, sys.gettrace()

    def check(*event: Any) -> Any:
        if time.monotonic() > end:
            raise RuntimeError(f"it takes longer than {seconds:g} s")
        return check

    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
