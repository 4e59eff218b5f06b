"""Preferences: each is a prompt with two completions, of which a judge chose one and rejected the other.

A file of preferences has one JSON object per line, with the texts `prompt`, `chosen` and `rejected`. Other fields are
ignored.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agents.protocol import AgentError
from games.files import atomic_write
from games.untrusted_files import parse_json, read_lines

FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A prompt and two completions of it. The completions are not stripped, because many begin with a space."""

    prompt: str
    chosen: str
    rejected: str


def read_preferences(path: Path) -> list[Preference]:
    """Read a file of preferences.

    Raises:
        AgentError: the file does not exist, is empty or is not UTF-8, or a line is not a preference. The message names
            the file, and the line if one is wrong.
    """
    lines = enumerate(read_lines(path, error=AgentError), 1)
    preferences = [_preference(line, f"{path}:{number}") for number, (_, line) in lines]
    if not preferences:
        raise AgentError(f"{path}: the file holds no preferences")
    return preferences


def write_preferences(path: Path, preferences: Iterable[Preference]) -> None:
    """Write a file of preferences atomically."""
    lines = (json.dumps(asdict(preference), ensure_ascii=False) + "\n" for preference in preferences)
    atomic_write(path, "".join(lines))


def _preference(line: str, place: str) -> Preference:
    expected = f"{place}: expected a JSON object with the texts {', '.join(FIELDS)}"
    if not line.strip():
        raise AgentError(f"{expected}, got a blank line")
    try:
        record = parse_json(line, "it", AgentError)
    except AgentError as error:
        raise AgentError(f"{expected}, got no JSON ({error})") from None
    if not isinstance(record, dict):
        raise AgentError(f"{expected}, got {type(record).__name__}")
    for name in FIELDS:
        if not isinstance(record.get(name), str):
            got = type(record[name]).__name__ if name in record else "nothing"
            raise AgentError(f"{expected}, got {got} in the field {name!r}")
    preference = Preference(**{name: record[name] for name in FIELDS})
    if not preference.prompt.strip():
        raise AgentError(f"{place}: the prompt is blank")
    if preference.chosen == preference.rejected:
        raise AgentError(f"{place}: chosen and rejected are the same text")
    return preference
