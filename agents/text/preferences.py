"""Reads and writes preferences as JSON Lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from games.files import append_rows, atomic_write, json_lines
from games.untrusted_files import is_present, parse_json, read_lines, validated

FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Two completions of a prompt. A completion may begin with a space."""

    prompt: str
    chosen: str
    rejected: str


def read_preferences(path: Path) -> list[Preference]:
    """Read a file of preferences. Raise AgentError if the file is missing, empty or damaged."""
    lines = enumerate(read_lines(path, error=AgentError), 1)
    preferences = [_parse_preference(line, f"{path}:{number}") for number, (_, line) in lines]
    if not preferences:
        raise AgentError(f"{path}: the file holds no preferences")
    return preferences


def write_preferences(path: Path, preferences: Iterable[Preference]) -> None:
    atomic_write(path, json_lines(map(asdict, preferences)))


class UnfinishedPreferences:
    """Stores preferences in a hidden file, so that `make-pairs` can resume.

    `batches` holds preferences of an interrupted run with equal settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path.with_name(f".{path.name}.part"), dict(settings)
        self.batches: list[list[Preference | None]] = []  # None stands for a tie
        lines = list(read_lines(self._path, error=AgentError)) if is_present(self._path) else []
        rows = [(location, parse_json(line, location, AgentError)) for location, line in lines if line.endswith("\n")]
        if rows and rows[0][1] == self._settings:
            self.batches = [validated(list[Preference | None], row, location, AgentError) for location, row in rows[1:]]
        self._is_rewritten = False

    def add(self, batch: Sequence[Preference | None]) -> None:
        """Append a batch to the file."""
        if not self._is_rewritten:  # this removes unusable lines
            atomic_write(self._path, json_lines([self._settings, *map(_to_json, self.batches)]))
            self._is_rewritten = True
        append_rows(self._path, [_to_json(batch)])

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _to_json(batch: Sequence[Preference | None]) -> list[dict[str, str] | None]:
    return [None if preference is None else asdict(preference) for preference in batch]


def _parse_preference(line: str, location: str) -> Preference:
    expected = f"{location}: expected a JSON object with the texts {', '.join(FIELDS)}"
    if not line.strip():
        raise AgentError(f"{expected}, got a blank line")
    record = parse_json(line, f"{expected}, but the line", AgentError)
    if not isinstance(record, dict):
        raise AgentError(f"{expected}, got {type(record).__name__}")
    for name in FIELDS:
        if not isinstance(record.get(name), str):
            got = type(record[name]).__name__ if name in record else "nothing"
            raise AgentError(f"{expected}, got {got} in the field {name!r}")
    preference = Preference(**{name: record[name] for name in FIELDS})
    if not preference.prompt.strip():
        raise AgentError(f"{location}: the prompt is blank")
    if preference.chosen == preference.rejected:
        raise AgentError(f"{location}: chosen and rejected are the same text")
    return preference
