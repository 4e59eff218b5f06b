"""The shipped openings are many, different and held out; files of openings are read and their mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from games import GameError
from games.completion.prompts import SETS, load_prompts


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def test_shipped_sets_are_many_short_natural_openings() -> None:
    train, heldout = load_prompts("train"), load_prompts("heldout")
    assert len(train) >= 192 and len(heldout) >= 48
    assert len({text.casefold() for text in (*train, *heldout)}) == len(train) + len(heldout)
    for text in (*train, *heldout):
        assert 2 <= len(text.split()) <= 8, text
        assert text == " ".join(text.split()) and text.isascii() and text.isprintable(), text
        assert not set("<>[]{}#*_`|\\") & set(text), text


def test_no_heldout_opening_shares_a_stem_with_a_train_opening() -> None:
    train = [words(text) for text in load_prompts("train")]
    for text in load_prompts("heldout"):
        assert words(text)[:2] not in [known[:2] for known in train], text
        assert words(text)[-2:] not in [known[-2:] for known in train], text


def test_no_shipped_opening_has_a_strong_sentiment() -> None:
    from games.completion.rewards import resolve_reward

    texts = [text for name in SETS for text in load_prompts(name)]
    scores = resolve_reward("sentiment")(texts, texts)
    assert max(map(abs, scores)) < 0.5


def test_text_file_has_one_opening_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffWe had  a \r\n É is\u2028 for\nlast".encode())
    assert load_prompts(str(path)) == ("We had  a", "É is\u2028 for", "last")


def test_jsonl_file_has_openings_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "One\\n\\ntwo:", "id": 3}\n{"prompt": " three "}\n')
    assert load_prompts(str(path)) == ("One\n\ntwo:", "three")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\n \ntwo\n", r"a.txt:2: expected a prompt, got a blank one"),
        ("a.txt", b"one\ntwo\none \n", r"a.txt:3: this prompt is the same as that of line 1"),
        ("a.txt", b"", "a.txt: the file holds no prompts"),
        ("a.txt", b"\xff\xfe", "a.txt, line 1 is damaged: not UTF-8"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": ""}\n', "a.jsonl:2: expected a prompt, got a blank one"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "a"}\n', "a.jsonl:2: this prompt is the same as that of line 1"),
        ("a.jsonl", b'{"prompt": "a"}\n\n', "a.jsonl:2: expected a JSON object with a text in the field 'prompt'"),
        ("a.jsonl", b'{"text": "a"}\n', "a.jsonl:1: expected a JSON object with a text in the field 'prompt'"),
        ("a.jsonl", b'{"prompt": 3}\n', "a.jsonl:1: expected a JSON object with a text in the field 'prompt'"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: expected a JSON object with a text in the field 'prompt'"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: expected a JSON object with a text in the field 'prompt'"),
        ("a.csv", b"one\n", "expected train, heldout or a file"),
    ],
)
def test_mistakes_in_files_are_named_with_their_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GameError, match=message) as error:
        load_prompts(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("trian", "prompts=trian: expected train, heldout or a file .*; did you mean 'train'"),
        ("", "prompts=: expected train, heldout or a file"),
        ("missing.txt", "prompts=missing.txt: no such file"),
        ("a\0.txt", "expected train, heldout or a file"),
    ],
)
def test_unknown_sets_and_missing_files_raise(source: str, message: str) -> None:
    with pytest.raises(GameError, match=message):
        load_prompts(source)
    with pytest.raises(GameError, match=f"^--probe-prompts {source}: "):
        load_prompts(source, setting="--probe-prompts ")


def test_unreadable_file_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(GameError, match=r"a.txt cannot be read: Permission denied"):
        load_prompts(str(path))
