"""The completion game."""

import string
from collections.abc import Sequence
from typing import Any

from gymnasium.spaces import Text

from games.base import Info, StepResult, TextGame
from games.completion.prompts import load_prompts
from games.completion.rewards import max_reward, parse_reward, resolve_reward
from games.errors import GameError
from games.parameters import Parameter

MAX_TOKENS = 512
MAX_CHARACTERS = 10_000  # the largest length of a completion in the action space; `step` accepts longer texts


class Completion(TextGame):
    """A one-turn game. A reward function scores the command, a continuation of the prompt."""

    metadata: dict[str, Any] = {**TextGame.metadata, "prompt": "", "terminator": ""}  # noqa: RUF012
    parameters = (
        Parameter(name="prompts", kind="text", default="train", help="train, heldout, or a .txt or .jsonl file"),
        Parameter(name="reward", kind="text", default="sentiment", help="reward functions, joined by commas"),
        Parameter(
            name="max_tokens", kind="int", default=16, low=1, high=MAX_TOKENS, help="the agent's limit of tokens"
        ),
        Parameter(name="newlines", kind="bool", default=False, help="whether a completion may contain newlines"),
        Parameter(name="choices", kind="words", help="the admissible completions, joined by commas"),
    )
    reset_options = ("prompt",)

    def __init__(
        self,
        *,
        prompts: str = "train",
        reward: str = "sentiment",
        max_tokens: int = 16,
        newlines: bool = False,
        choices: Sequence[str] | None = None,
        max_turns: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens <= MAX_TOKENS:
            raise GameError(f"completion: max_tokens={max_tokens}: expected a whole number from 1 to {MAX_TOKENS}")
        self.prompts = load_prompts(prompts)
        self.choices = () if choices is None else tuple(choices)
        shown = all(text.strip() and text.isprintable() for text in self.choices)
        if choices is not None and not (shown and 2 <= len(self.choices) == len(set(self.choices))):
            expected = "at least two different choices of printable characters, none blank"
            raise GameError(f"completion: expected {expected}, got {self.choices}")
        terms = parse_reward(reward)
        self.reward = reward
        self._scorer = None if any(term.is_model for term in terms) else resolve_reward(reward)
        largest = max_reward(terms)
        self._largest: Info = {} if largest is None else {"max_score": largest}
        # for the agent; `step` accepts longer texts
        self._limits: Info = {"max_tokens": max_tokens, "newlines": newlines}
        self._prompt = ""
        max_turns = 1 if max_turns is None else max_turns
        super().__init__(max_turns=max_turns, characters="".join(self.prompts), render_mode=render_mode)
        characters = frozenset(string.printable + "".join(self.choices))
        self.action_space = Text(MAX_CHARACTERS, min_length=0, charset=characters)

    def _start(self, options: dict[str, Any]) -> StepResult:
        if "prompt" not in options:
            self._prompt = self.prompts[int(self.np_random.integers(len(self.prompts)))]
        elif isinstance(prompt := options["prompt"], str) and prompt.strip():
            self._prompt = prompt.strip()
        else:
            expected = "expected a text that is not blank as the reset option 'prompt'"
            raise GameError(f"completion: {expected}, got {prompt!r}")
        info = {"prompt": self._prompt, **self._largest, **self._limits}
        return StepResult(text=self._prompt, commands=self.choices, info=info)

    def _play(self, command: str) -> StepResult:
        info: Info = {"prompt": self._prompt, "completion": command, **self._largest}
        if self._scorer is None:  # the reward needs a model, which the caller must apply
            return StepResult(text="", terminated=True, info=info | {"unscored": self.reward})
        (reward,) = self._scorer([self._prompt], [command])
        return StepResult(text="", reward=reward, terminated=True, info=info)
