"""A `.tw-pddl` file is read strictly, and a missing planner is one line. The planner itself is not needed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import games
from games import GameError
from games.game_hash import game_hash
from games.textworld import pddl_file
from games.textworld.validation import game_file

TEXTS: dict[str, Any] = {"pddl_domain": "(define)", "pddl_problem": "(define)", "grammar": "grammar"}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no valid JSON"),
        ("(define (domain alfred))", "no valid JSON"),
        ('{"pddl_domain": NaN}', "no valid JSON"),
        ([TEXTS], "Input should be an object, got [{"),
        ({}, "pddl_domain: Field required"),
        ({"pddl_domain": "", "pddl_problem": ""}, "grammar: Field required"),
        ({**TEXTS, "pddl_problem": ["(define)"]}, "pddl_problem: Input should be a valid string"),
        ({**TEXTS, "walkthrough": "look"}, "walkthrough: Input should be a valid"),
        ({**TEXTS, "walkthrough": ["look", 3]}, "walkthrough.1: Input should be a valid string"),
    ],
)
def test_a_malformed_file_is_one_line(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "game.tw-pddl", content)
    for call in (pddl_file.read, game_file.check):
        with pytest.raises(GameError) as error:
            call(path)
        assert str(error.value).startswith(f"{path} is damaged: ")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pddl_file, "MAX_FILE", 20)
    with pytest.raises(GameError, match="is too large: expected at most 20 bytes"):
        pddl_file.read(write(tmp_path / "game.tw-pddl", TEXTS))


def test_further_keys_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pddl_file, "find_spec", lambda name: name)
    path = write(tmp_path / "game.tw-pddl", {**TEXTS, "solvable": True, "walkthrough": None})
    assert pddl_file.read(path) == pddl_file.PddlGame(**TEXTS)
    assert game_file.check(path) == game_file.PDDL


def test_a_path_names_a_file_a_folder_of_files_or_a_part_of_alfworlds_data(tmp_path: Path) -> None:
    trials = [tmp_path / "train" / task / "trial" / "game.tw-pddl" for task in ("clean", "heat")]
    for path in trials:
        path.parent.mkdir(parents=True)
        write(path, TEXTS)
    assert [spec.target for spec in games.resolve(str(trials[0]))] == [str(trials[0])]
    assert [spec.target for spec in games.resolve(str(trials[0].parent))] == [str(trials[0])]
    assert [spec.target for spec in games.resolve(str(tmp_path / "train"))] == list(map(str, trials))
    with pytest.raises(GameError, match=r"holds no game files \(\.z1 to \.z8 or \.tw-pddl\)"):
        games.resolve(str(tmp_path))
    with pytest.raises(GameError, match="no such file or folder"):
        games.resolve("game.tw-pddl")


def test_games_with_other_bytes_have_other_hashes(tmp_path: Path) -> None:
    same, other = ({**TEXTS, "grammar": text} for text in ("grammar", "other"))
    paths = [write(tmp_path / f"{i}.tw-pddl", content) for i, content in enumerate((TEXTS, same, other))]
    hashes = [game_hash(games.resolve(str(path))[0]) for path in paths]
    assert hashes[0] == hashes[1] != hashes[2]
