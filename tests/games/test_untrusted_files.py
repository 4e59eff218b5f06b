"""The reader of files of others: special files, sizes, and JSON that is hostile but legal."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from games.errors import FilesError
from games.untrusted_files import parse_json, read_bytes, read_json, read_lines, read_object, validated


class Counted(TypedDict):
    count: int
    shares: tuple[float, float]


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(FilesError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "no regular file": os.mkfifo,
    "is no regular": lambda path: path.mkdir(),
    "regular file": lambda path: path.symlink_to("/dev/zero"),
    "cannot be read": lambda path: path.symlink_to(path.name),
    "is missing": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("says", SPECIAL)
def test_a_special_file_is_refused(tmp_path: Path, says: str) -> None:
    path = tmp_path / "file.json"
    SPECIAL[says](path)
    for read in (read_bytes, read_json, lambda path: list(read_lines(path))):
        message = refused(lambda read=read: read(path))  # type: ignore[misc]
        assert says in message and str(path) in message


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[1, 2.5]")
    (tmp_path / "link").symlink_to("file")
    assert read_json(tmp_path / "link") == [1, 2.5]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("[1, 2]\n[3]\n")
    assert read_bytes(path, limit=11) == path.read_bytes()
    assert "at most 10 bytes" in refused(lambda: read_bytes(path, limit=10))
    assert "line 1 is too long" in refused(lambda: list(read_lines(path, limit=6)))
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert "too large" in refused(lambda: read_json(path, limit=1000))


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"{", b"[1] 2", b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 200_000, b"1" * 5000,
        b"NaN", b"[Infinity]", b"[1e400]", b"-1e999", b'"\\ud800"', b'"\xff"', b"\0", b"'a'", b"[1,]", b"// a\n1",
    ],
)  # fmt: skip
def test_no_strict_json(text: bytes) -> None:
    assert "it is damaged" in refused(lambda: parse_json(text, "it"))


@pytest.mark.parametrize(
    ("text", "position"),
    [('{"a": 1\n', ""), (b'{"a": 1', " at column 7"), ("[1,]\n", " at column 4"), ("[1,\n2,]", " at line 2 column 3")],
)
def test_the_parser_counts_no_lines_of_a_single_line(text: bytes | str, position: str) -> None:
    message = refused(lambda: parse_json(text, "a.jsonl:4"))
    assert message.startswith("a.jsonl:4 is damaged: no valid JSON, ")
    assert re.search("( at .*)?$", message.partition("JSON, ")[2])[0] == position  # type: ignore[index]


@pytest.mark.parametrize(("text", "value"), [("[0.1, -0, 1e5]", [0.1, 0, 1e5]), (f"{10**30}", 10**30), ('"é"', "é")])
def test_values_are_read_exactly(text: str, value: object) -> None:
    assert parse_json(text, "it") == value


def test_lines_are_separated_by_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('"a\u2028b"\n"c"', encoding="utf-8")
    assert [text for _, text in read_lines(path)] == ['"a\u2028b"\n', '"c"']
    message = refused(lambda: list(read_lines(path, complete=True)))
    assert "a.jsonl, line 2 is damaged: expected a complete line" in message


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"count": "1", "shares": [0.5, 0.5]}, "count"),
        ({"count": True, "shares": [0.5, 0.5]}, "count"),
        ({"count": 1, "shares": [0.5]}, "shares"),
        ({"shares": [0.5, 0.5]}, "count"),
        ([], "it is damaged: Input should be an object, got []"),
    ],
)
def test_a_value_of_another_form_is_refused(value: Any, says: str) -> None:
    assert says in refused(lambda: validated(Counted, value, "it"))


def test_a_value_of_the_right_form(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"count": 1, "shares": [0.5, 1], "more": null}')
    assert read_json(tmp_path / "a.json", Counted) == {"count": 1, "shares": [0.5, 1], "more": None}
    (tmp_path / "a.json").write_text("[]")
    assert "expected a JSON object" in refused(lambda: read_object(tmp_path / "a.json"))
