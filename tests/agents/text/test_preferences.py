"""Files of preferences are read strictly and written atomically."""

import json
from pathlib import Path

import pytest

from agents.protocol import AgentError
from agents.text.preferences import Preference, read_preferences, write_preferences

GOOD = {"prompt": "We had a", "chosen": " party", "rejected": " wedding"}


def line(**fields: object) -> str:
    return json.dumps(GOOD | fields)


def test_written_preferences_are_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    preferences = [
        Preference(prompt="We had a", chosen=" party\n", rejected=""),
        Preference(prompt="Ein schöner", chosen=" Tag \u2028 …", rejected=" Tag"),
    ]
    write_preferences(path, preferences)
    assert read_preferences(path) == preferences
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_other_fields_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line(chosen_score=0.5, id="7") + "\n")
    assert read_preferences(path) == [Preference(**GOOD)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "rejected, but the line is damaged: no valid JSON, EOF while parsing an object"),
        ("", "got a blank line"),
        ("   ", "got a blank line"),
        ("[1]", "got list"),
        ('{"prompt": "a", "chosen": "b"}', "got nothing in the field 'rejected'"),
        (line(chosen=[{"role": "assistant", "content": "hi"}]), "got list in the field 'chosen'"),
        (line(chosen=None), "got NoneType in the field 'chosen'"),
        (line(prompt=" "), "the prompt is blank"),
        (line(rejected=" party"), "chosen and rejected are the same text"),
        (line(rejected="\ud800"), "but the line is damaged: no valid JSON, "),
        ("[" * 100_000, "but the line is damaged: no valid JSON, "),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, bad: str, says: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{line()}\n{bad}\n{line()}\n")
    with pytest.raises(AgentError) as caught:
        read_preferences(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ") and says in message and "\n" not in message
    assert "at line" not in message


NO_FILES = [(b"", "holds no preferences"), (b"\xff\xfe", "UTF-8"), (None, "is missing")]


@pytest.mark.parametrize(("content", "says"), NO_FILES)
def test_a_file_without_preferences_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AgentError, match=f"{path}.*{says}"):
        read_preferences(path)
