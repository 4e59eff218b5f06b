"""Check the values that third-party environments return."""

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

MAX_COMMAND = 200  # maximum number of characters in a command that an environment offers
MAX_TEXT = 1_000_000  # maximum number of characters in an observation
# largest magnitude of a number, because models compute with single precision
MAX_NUMBER = float(np.finfo(np.float32).max)
# info entries that only the game `completion` may set, to request the score of a reward model
AGENTS_OWN = frozenset({"unscored", "prompt", "completion"})


class UnusableValueError(Exception):
    """An environment returned an unusable value. `kind` is a category, such as `reward` or `info`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def checked_info(info: object, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Check an `info` dict. Return a copy in which `defaults` fill missing entries."""
    if not isinstance(info, Mapping):
        raise UnusableValueError("info", f"the info is {short(info)}, not a dict")
    for name, (expected, is_valid) in ENTRIES.items():
        if name in info and not is_valid(info[name]):
            raise UnusableValueError("info", f"{name} in the info is {short(info[name])}, not {expected}")
    entries = {name: value for name, value in info.items() if name not in AGENTS_OWN}
    entries |= {name: bool(entries[name]) for name in ("won", "lost") if entries.get(name) is not None}
    return {**defaults, **entries, "admissible_commands": checked_commands(info.get("admissible_commands"))}


def checked_commands(commands: object) -> list[str]:
    if commands is None:
        return []
    if isinstance(commands, str) or not isinstance(commands, Sequence | np.ndarray | set | frozenset):
        raise UnusableValueError("commands", f"admissible_commands are {short(commands)}, not a list of texts")
    checked = [str(command) for command in commands if isinstance(command, str)]
    invalid_commands = [command for command in checked if not is_command(command)]
    if len(checked) < len(commands) or invalid_commands:
        invalid = invalid_commands[0] if invalid_commands else next(c for c in commands if not isinstance(c, str))
        expected = f"texts of 1 to {MAX_COMMAND} characters in one line"
        raise UnusableValueError("commands", f"admissible_commands hold {short(invalid)}; expected {expected}")
    if len(set(checked)) < len(checked):
        duplicate = next(command for command in checked if checked.count(command) > 1)
        raise UnusableValueError("commands", f"admissible_commands hold {short(duplicate)} twice")
    return sorted(checked)


def checked_text(observation: object) -> str:
    text = as_text(observation)
    if text is None or not is_utf8(text):
        raise UnusableValueError("observation", f"the observation is {short(observation)}, not a text")
    if len(text) > MAX_TEXT:
        problem = f"the observation has {len(text)} characters; expected at most {MAX_TEXT}"
        raise UnusableValueError("observation", problem)
    return text


def checked_reward(reward: object) -> float:
    if not is_finite(reward):
        raise UnusableValueError("reward", f"step returned the reward {short(reward)}, not a finite number")
    return number(reward)


def checked_flag(flag: object) -> bool:
    if not isinstance(flag, bool | np.bool_ | int | np.integer):
        raise UnusableValueError("result", f"step returned {short(flag)} as an end of the episode, not True or False")
    return bool(flag)


def checked_metadata(metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise UnusableValueError("metadata", f"the metadata is {short(metadata)}, not a dict")
    for name in ("prompt", "terminator"):
        text = metadata.get(name, "")
        if not (isinstance(text, str) and len(str(text)) <= MAX_COMMAND and is_utf8(str(text))):
            raise UnusableValueError("metadata", f"{name} in the metadata is {short(text)}, not a short text")
    return dict(metadata)


def checked_actions(space: object) -> gymnasium.spaces.Text:
    if not isinstance(space, gymnasium.spaces.Text):
        raise UnusableValueError(
            "spaces", f"expected an environment whose actions are texts, got action_space={short(space)}"
        )
    return space


def as_text(observation: object, *, in_collection: bool = False) -> str | None:
    """Convert an observation to text, or return None if impossible. Convert numbers only inside a collection."""
    match observation:
        case str():
            return str(observation)
        case np.ndarray() if observation.ndim == 0:
            return as_text(observation.item(), in_collection=in_collection)
        case np.ndarray() if not in_collection and observation.dtype.kind not in "UO":
            return None
        case Mapping():
            lines = [(f"{name}: ", as_text(value, in_collection=True)) for name, value in observation.items()]
        case tuple() | list() | np.ndarray():
            lines = [("", as_text(value, in_collection=True)) for value in observation]
        case int() | float() | np.number() | np.bool_() if in_collection:
            return str(observation)
        case _:
            return None
    texts = [label + text for label, text in lines if text is not None]
    return "\n".join(texts) if texts and len(texts) == len(lines) else None


def number(value: object) -> float:
    """Convert a number to a float. Return NaN for any other value, even for a string."""
    if isinstance(value, str | bytes | bytearray):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def is_finite(value: object) -> bool:
    """Return whether a value is a finite number in the range of float32."""
    return abs(number(value)) <= MAX_NUMBER  # False for NaN


def is_command(text: str) -> bool:
    return bool(text.strip()) and len(text) <= MAX_COMMAND and len(text.splitlines()) == 1 and is_utf8(text)


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can encode a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())


def _is_outcome(value: object) -> bool:
    return value is None or isinstance(value, bool | np.bool_ | int | float | np.number)


def _are_texts(value: object) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))


def _is_json(value: object) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and is_utf8(key) and _is_json(item) for key, item in value.items())
        case list():
            return all(map(_is_json, value))
        case str():
            return is_utf8(value)
        case float():
            return math.isfinite(value)
    return value is None or isinstance(value, bool | int)


# info entry -> a tuple (expected value in words, function that returns whether a value is valid)
ENTRIES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "score": ("a finite number", is_finite),
    "max_score": ("a finite number", lambda value: value is None or is_finite(value)),  # None: unknown
    "moves": ("a finite number", is_finite),
    "won": ("True or False", _is_outcome),
    "lost": ("True or False", _is_outcome),
    "strategy": ("a text", lambda value: value is None or (isinstance(value, str) and is_utf8(value))),
    "continuation": (
        "a dict of options for the next reset, with values that JSON can hold",
        lambda value: isinstance(value, dict) and _is_json(value),
    ),
    "policy_commands": ("a list of commands", _are_texts),
    "extra.walkthrough": ("a list of commands", _are_texts),
    "max_tokens": ("a whole number from 1", lambda value: isinstance(value, int) and 1 <= value <= MAX_TEXT),
    "newlines": ("True or False", _is_outcome),
}
