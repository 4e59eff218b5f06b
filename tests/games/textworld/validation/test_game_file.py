"""Damaged, foreign, misnamed and mismatched game files raise one line and never reach the C library."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from games import GameError, resolve
from games.textworld.env import TextWorld
from games.textworld.generation.make_game import cached_game
from games.textworld.validation import game_file

Damage = Callable[[Path], object]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A sound generated game in a folder of its own."""
    made = cached_game("simple", {"seed": 7})
    for suffix in (".z8", ".json"):
        shutil.copy(made.with_suffix(suffix), tmp_path / f"tw-game{suffix}")
    return tmp_path / "tw-game.z8"


def foreign(story: Path) -> Path:
    """Remove the mark of this project, so that TextWorld itself could have written the game."""
    record = json.loads(story.with_suffix(".json").read_text())
    del record["metadata"]["actde"]
    story.with_suffix(".json").write_text(json.dumps(record))
    return story


def edit(position: int, value: int) -> Damage:
    def damage(story: Path) -> None:
        data = bytearray(story.read_bytes())
        data[position] ^= value
        story.write_bytes(data)

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing story": (lambda s: s.unlink(), "no such game file|no such file"),
    "missing record": (lambda s: s.with_suffix(".json").unlink(), "no such game file, TextWorld's record"),
    "empty story": (lambda s: s.write_bytes(b""), "the game file is empty"),
    "truncated story": (lambda s: s.write_bytes(s.read_bytes()[:200_000]), "truncated .200000 of"),
    "header only": (lambda s: s.write_bytes(s.read_bytes()[:64]), "truncated .64 of"),
    "garbage": (lambda s: s.write_bytes(bytes(range(1, 256)) * 99), "not a game file"),
    "garbage with a version": (lambda s: s.write_bytes(b"\x08" + b"\xab" * 9999), "truncated|damaged|not a game"),
    "zeros with a version": (lambda s: s.write_bytes(b"\x08" + bytes(9999)), "not a game file"),
    "text": (
        lambda s: s.write_text("no game at all, but long enough for a header " * 9),
        "not a game file",
    ),
    "another version": (edit(0, 13), "version 8"),
    "a flipped bit": (edit(123_456, 4), "damaged"),
    "a flipped bit in the header": (edit(8, 0xFF), "belongs to another game|outside it"),
    "empty record": (lambda s: s.with_suffix(".json").write_bytes(b""), "record of the game is empty"),
    "truncated record": (
        lambda s: s.with_suffix(".json").write_bytes(s.with_suffix(".json").read_bytes()[:999]),
        "truncated or not JSON",
    ),
    "binary record": (lambda s: s.with_suffix(".json").write_bytes(b"\xff\xfe\0"), "truncated or not JSON"),
    "deep record": (lambda s: s.with_suffix(".json").write_text("[" * 100_000), "truncated or not JSON"),
    "walkthrough of numbers": (
        lambda s: s.with_suffix(".json").write_text(
            s.with_suffix(".json").read_text().replace('"walkthrough": [', '"walkthrough": [1, ')
        ),
        "its walkthrough is no list of commands",
    ),
    "record of something else": (lambda s: s.with_suffix(".json").write_text('{"a": 1}'), "not TextWorld's record"),
    "edited record": (
        lambda s: s.with_suffix(".json").write_text(s.with_suffix(".json").read_text().replace("trunk", "trumk")),
        "damaged or was changed",
    ),
    "record of another game of ours": (
        lambda s: shutil.copy(cached_game("treasure", {"seed": 0}).with_suffix(".json"), s.with_suffix(".json")),
        "belongs to another game file",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_game_raises_one_line(name: str, story: Path) -> None:
    damage, message = DAMAGES[name]
    damage(story)
    with pytest.raises(GameError, match=message) as error:
        resolve(str(story))[0].make()
    assert "\n" not in str(error.value)
    assert story.stem in str(error.value)


def test_sound_game_plays_by_either_file_name_and_by_its_folder(story: Path) -> None:
    for game in (story, story.with_suffix(".json"), story.parent):
        (spec,) = resolve(str(game))
        assert resolve(spec.name) == [spec]
        assert spec.name == str(story)
        assert "TextWorld" in spec.make().reset(seed=0)[0]


def test_file_name_without_tw_changes_no_text(story: Path) -> None:
    expected = TextWorld(str(story)).reset(seed=0)
    for suffix in (".z8", ".json"):
        story.with_suffix(suffix).rename(story.with_name(f"my game{suffix}"))
    env = TextWorld(str(story.with_name("my game.z8")))
    assert env.reset(seed=0) == expected


def test_foreign_game_is_checked_once(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(story)
    assert game_file.check(story) == game_file.FOREIGN
    monkeypatch.setattr("subprocess.run", None)
    assert TextWorld(str(story)).reset(seed=0)[1]["max_score"] == 7


REDUNDANT = {
    "look twice": lambda commands: ["look", "look", *commands],
    "repeat each command that opens or takes": lambda commands: [
        command for one in commands for command in [one] * (1 + one.startswith(("open", "take")))
    ],
    "close what is closed": lambda commands: ["close antique trunk", "unlock antique trunk with old key", *commands],
    "name what is not there": lambda commands: ["take zebra", *commands],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "what" in name else ()) for name in REDUNDANT]
)
def test_walkthrough_of_a_foreign_game_is_judged_by_its_outcome(name: str, story: Path) -> None:
    foreign(story)
    record = json.loads(story.with_suffix(".json").read_text())
    commands = record["metadata"]["walkthrough"]
    record["metadata"]["walkthrough"] = REDUNDANT[name](commands)
    assert len(record["metadata"]["walkthrough"]) > len(commands)
    story.with_suffix(".json").write_text(json.dumps(record))
    env = TextWorld(str(story))
    _, info = env.reset(seed=0)
    for command in info["extra.walkthrough"]:
        info = env.step(command)[4]
    assert info["won"] and info["score"] == info["max_score"]
    env.close()


def test_walkthrough_that_does_not_win_raises(story: Path) -> None:
    foreign(story)
    record = json.loads(story.with_suffix(".json").read_text())
    del record["metadata"]["walkthrough"][0]
    story.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(GameError, match="the walkthrough does not win"):
        TextWorld(str(story))


BUGS = {
    "the check of the opening": "games.textworld.validation.playthrough_check._normalize",
    "the check of the rules": "games.textworld.validation.record_check._check_rules",
    "the check of the facts": "games.textworld.validation.record_check._free_exits",
}


@pytest.mark.parametrize("name", BUGS)
def test_bug_of_the_check_is_not_reported_as_damage(name: str, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(story)
    monkeypatch.setenv("ACTDE_CACHE", str(story.parent / "cache"))  # no earlier test has stored that it is sound
    module, _, function = BUGS[name].rpartition(".")
    run = subprocess.run
    code = f"import {module} as broken; del broken.{function}; "

    def with_bug(command: list[str], **options: Any) -> Any:
        return run([*command[:2], code + command[2], *command[3:]], **options)

    monkeypatch.setattr("subprocess.run", with_bug)
    with pytest.raises(RuntimeError, match=rf"bug\n[\s\S]*NameError: .*{function}"):
        TextWorld(str(story))


def test_foreign_story_with_another_games_record_raises(story: Path) -> None:
    other = cached_game("simple", {"seed": 1})
    shutil.copy(other.with_suffix(".json"), story.with_suffix(".json"))
    foreign(story)
    with pytest.raises(GameError, match="belongs to another game"):
        TextWorld(str(story))


@pytest.mark.parametrize("noise_from", [6, 4, 14])
def test_foreign_story_of_noise_crashes_a_child_process_only(story: Path, noise_from: int) -> None:
    """The header is sound and the checksum right, but what the header points to is noise."""
    foreign(story)
    data = bytearray(story.read_bytes())
    start, length = int.from_bytes(data[noise_from : noise_from + 2], "big"), int.from_bytes(data[26:28], "big") * 8
    data[start:length] = (b"\xbe\x7f\x00\x9d" * length)[: length - start]
    data[28:30] = (sum(data[64:length]) % 65536).to_bytes(2, "big")
    story.write_bytes(data)
    with pytest.raises(GameError, match=r"cannot load|belongs to another|hangs") as error:
        TextWorld(str(story))
    assert "\n" not in str(error.value)


def test_damaged_copy_in_the_cache_is_replaced(game_cache: Path) -> None:
    made = cached_game("treasure", {"seed": 0})
    sound = made.read_bytes()
    made.write_bytes(sound[:1000])
    assert cached_game("treasure", {"seed": 0}).read_bytes() == sound


def test_unwritable_cache_raises_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path / "file"))
    with pytest.raises(GameError, match="ACTDE_CACHE"):
        cached_game("treasure", {"seed": 0})
