"""Select the concluding paragraphs of the report (claims/bandit_notes.toml) that the findings support."""

import tomllib
from collections.abc import Sequence
from string import Template

from pydantic.dataclasses import dataclass

from experiments.reproduce.finding import CLAIMS, NOT_REPRODUCED, REPRODUCED, STRICT, Finding, Section


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Note:
    """A paragraph of the report and the verdicts that it depends on.

    Attributes:
        reproduced: the findings that must have the verdict "reproduced", by their ids without the part's name.
        not_reproduced: the findings that must have the verdict "not reproduced", by their ids without the part's name.
        number: the finding whose number replaces $number in the text, or "" if there is no $number.
        format: the format specification of this number.
    """

    section: Section
    text: str
    reproduced: list[str]
    not_reproduced: list[str]
    number: str = ""
    format: str = ""


def load_notes() -> list[Note]:
    text = (CLAIMS / "bandit_notes.toml").read_text(encoding="utf-8")
    return [Note(**fields) for fields in tomllib.loads(text)["note"]]


def supported(findings: Sequence[Finding]) -> dict[Section, list[str]]:
    """Return the texts of the notes whose findings have the required verdicts, by section."""
    by_name = {finding.id.partition(".")[2]: finding for finding in findings}
    notes: dict[Section, list[str]] = {}
    for note in load_notes():
        wanted = dict.fromkeys(note.reproduced, REPRODUCED) | dict.fromkeys(note.not_reproduced, NOT_REPRODUCED)
        if all(by_name[name].verdict == verdict for name, verdict in wanted.items()):
            number = format(by_name[note.number].ours, note.format) if note.number else ""
            notes.setdefault(note.section, []).append(Template(note.text).substitute(number=number))
    return notes
