"""Prompt formats: the text around observations and commands."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from agents.protocol import AgentError
from games.errors import first_line


@dataclass(slots=True, kw_only=True)
class ReturnText:
    """Adds the return-to-go as text, to all observations (`turn`) or to the first observation (`prefix`)."""

    position: Literal["turn", "prefix"] = "turn"
    target: float | None = None  # return that an agent should obtain

    def with_return(self, observation: str, return_to_go: float, *, first: bool, game_prompt: str) -> str:
        """Return the observation with `return_to_go` added as text."""
        if self.position == "prefix":
            # the wording of Turner and Einhorn's code (2023)
            return (
                f"This play through has a return of {format_number(return_to_go)}\n{observation}"
                if first
                else observation
            )
        return_line = f"Return: {format_number(return_to_go)}"
        # last, so that streams share the opening text; but without a prompt, the command continues the observation
        return f"{observation}\n{return_line}" if game_prompt.strip() else f"{return_line}\n{observation}"

    @property
    def words(self) -> tuple[str, ...]:
        """Texts that contain all words and characters that `with_return` can add."""
        return ("\n", self.with_return("", 0.0, first=True, game_prompt=""), *"0123456789.-")


def format_number(value: float) -> str:
    """Format a number with at most two decimals, such as `0.3` or `-2`."""
    text = f"{round(value, 9):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """The texts around observations and commands.

    Attributes:
        opening: text before the first observation.
        before_observation: text before each later observation.
        prompt: text between an observation and a command. If None, the game's text is used.
        terminator: text after a command. If None, the game's text is used.
    """

    name: str
    opening: str = ""
    before_observation: str = ""
    prompt: str | None = None
    terminator: str | None = None
    returns: ReturnText | None = None

    def before_command(self, observation: str, *, game_prompt: str, first: bool, return_to_go: float = 0.0) -> str:
        """Return the text before a command, without the trailing spaces of the prompt."""
        prefix, prompt = self.opening if first else self.before_observation, self._prompt(game_prompt)
        if self.returns is not None:
            observation = self.returns.with_return(observation, return_to_go, first=first, game_prompt=prompt)
        return f"{prefix}{observation}{prompt.rstrip(' ')}"

    def command(self, command: str, *, game_prompt: str) -> str:
        """Return the prompt's trailing spaces and the command."""
        prompt = self._prompt(game_prompt)
        # many tokenizers join a space and the next word in one token
        return prompt[len(prompt.rstrip(" ")) :] + command

    def after_command(self, *, game_terminator: str) -> str:
        return game_terminator if self.terminator is None else self.terminator

    def _prompt(self, game_prompt: str) -> str:
        return game_prompt if self.prompt is None else self.prompt


PLAIN = PromptFormat(name="plain")
FORMATS = ("plain", "chat")  # plain is better even for SmolLM2-135M-Instruct in `simple` games (NOTES.md)
RENDER_SECONDS = 20.0  # limit of rendering a chat template, which may contain loops
INSTRUCTION = "You are playing a text adventure game. Answer each message with the next command."
# placeholders in a rendered chat
OBSERVATION_1, COMMAND, OBSERVATION_2 = "first-observation", "the-command", "second-observation"


def prompt_format(name: str, tokenizer: Any, returns: ReturnText | None = None) -> PromptFormat:
    """Return a prompt format by name. Raise AgentError if the tokenizer does not support the format."""
    if name not in FORMATS:
        raise AgentError(f"unknown prompt format {name!r}; expected {' or '.join(FORMATS)}")
    return replace(PLAIN if name == "plain" else _chat_format(tokenizer), returns=returns)


def _chat_format(tokenizer: Any) -> PromptFormat:
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise AgentError("the trunk's tokenizer has no chat template, which --prompt chat needs; use --prompt plain")
    system = [{"role": "system", "content": INSTRUCTION}]
    try:
        try:
            chat, ended_chat = _render(tokenizer, system, OBSERVATION_1)
        except TemplateError:  # some templates refuse system messages
            chat, ended_chat = _render(tokenizer, [], f"{INSTRUCTION}\n\n{OBSERVATION_1}")
        opening, remainder = chat.split(OBSERVATION_1)
        first_prompt, remainder = remainder.split(COMMAND)
        between, prompt = remainder.split(OBSERVATION_2)
        terminator = ended_chat.split(COMMAND)[1]
    except (TemplateError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        is_altered = type(error) in (ValueError, IndexError)  # a message occurs never or twice in the rendered texts
        reason = "it leaves out, repeats or changes a message" if is_altered else first_line(error)
        raise AgentError(
            f"the tokenizer's chat template cannot be used for a game: {reason}; use --prompt plain"
        ) from error
    if not terminator or not between.startswith(terminator):
        raise AgentError("the tokenizer's chat template does not end the assistant's messages; use --prompt plain")
    if first_prompt.rstrip(" ") == prompt:
        prompt = first_prompt  # includes the spaces that the model generates before a command
    return PromptFormat(
        name="chat",
        opening=opening,
        before_observation=between.removeprefix(terminator),
        prompt=prompt,
        terminator=terminator,
    )


def _render(tokenizer: Any, system: list[dict[str, str]], first_message: str) -> tuple[str, str]:
    """Render two chats: one asks for a second command, one ends after the first command."""
    messages = [*system, {"role": "user", "content": first_message}, {"role": "assistant", "content": COMMAND}]
    chat = [*messages, {"role": "user", "content": OBSERVATION_2}]
    with _time_limit(RENDER_SECONDS):
        return (
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True),
            tokenizer.apply_chat_template(messages, tokenize=False),
        )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Within the context, raise a RuntimeError after `seconds`."""
    deadline, previous_trace = time.monotonic() + seconds, sys.gettrace()

    def check(*event: Any) -> Any:
        if time.monotonic() > deadline:
            raise RuntimeError(f"it takes longer than {seconds:g} s")
        return check

    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(previous_trace)
