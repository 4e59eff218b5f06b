"""Curricula: reproducible folders, disjoint splits, verified manifests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import games
from games.textworld.generation.dataset import Progress
from games.textworld.generation.make_game import canonical_hash, make_game
from games.textworld.generation.manifest import ManifestEntry, split_of

REQUEST = {"family": "treasure", "levels": [1, 2], "per_level": 2, "split": "train", "seed": 4}


def make(out: Path, **changes: object) -> list[ManifestEntry]:
    return games.generate(out, **{**REQUEST, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished curriculum; tests that change it use a copy."""
    out = tmp_path_factory.mktemp("curricula") / "train"
    seen: list[Progress] = []
    entries = make(out, workers=1, on_progress=seen.append)
    assert len(entries) == 4
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert (seen[-1].done, seen[-1].total) == (4, 4)
    assert set(seen[-1].rejected) <= {"duplicates", "of another split", "impossible"}
    assert seen[-1].candidates == seen[-1].done + sum(seen[-1].rejected.values())
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for name, data in contents(folder).items():
        (to / name).write_bytes(data)
    return to


def test_curriculum_holds_the_requested_games_and_resolves_in_order(folder: Path) -> None:
    entries = games.load_manifest(folder / "manifest.jsonl")
    assert [(e.family, e.level, e.split) for e in entries] == [("treasure", level, "train") for level in (1, 1, 2, 2)]
    assert len({entry.hash for entry in entries}) == 4
    assert all(split_of(entry.hash) == "train" for entry in entries)
    specs = games.resolve(str(folder))
    assert specs == games.resolve(str(folder / "manifest.jsonl"))
    assert [spec.name for spec in specs] == [str(entry.path) for entry in entries]
    _, info = specs[0].make().reset(seed=0)
    assert info["max_score"] == entries[0].max_score
    assert len(info["extra.walkthrough"]) == entries[0].walkthrough_length
    assert {file.suffix for file in folder.iterdir()} == {".z8", ".json", ".jsonl"}
    again = games.resolve(f"textworld:treasure?level=1&seed={entries[0].seed}")[0].make()
    assert again.reset(seed=0) == specs[0].make().reset(seed=0)


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import sys, json, games\n"
        f"request = json.loads({json.dumps(json.dumps(REQUEST))})\n"
        "def tell(progress):\n    print(progress.done, flush=True)\n"
        f"games.generate({str(out)!r}, **request, workers=2, on_progress=tell)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ}, start_new_session=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "1":
            break
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (out / "manifest.jsonl").exists()
    with (out / "journal.jsonl").open("a") as journal:
        journal.write('{"key": "2-1", "verd')  # a line cut off
    make(out, workers=2)
    assert contents(out) == contents(folder)


def test_finished_curriculum_is_returned_and_another_request_raises(folder: Path) -> None:
    before = contents(folder)
    assert make(folder) == games.load_manifest(folder / "manifest.jsonl")
    for option, change in (
        ("--seed", {"seed": 5}),
        ("--levels and --split", {"levels": [1], "split": "valid"}),
        ("--set", {"settings": {"goal": "none"}}),
    ):
        with pytest.raises(games.GameError, match=f"holds a curriculum made with other {option}; choose"):
            make(folder, **change)
    assert contents(folder) == before


@pytest.mark.slow
def test_splits_share_no_game_at_any_seed(folder: Path, tmp_path: Path) -> None:
    entries = games.load_manifest(folder / "manifest.jsonl")
    for split in ("valid", "test"):
        entries += make(tmp_path / split, split=split, levels=[1], per_level=1, workers=2, seed=7)
    hashes = {split: {e.hash for e in entries if e.split == split} for split in ("train", "valid", "test")}
    assert [len(of_split) for of_split in hashes.values()] == [4, 1, 1]
    assert all(split_of(entry.hash) == entry.split for entry in entries)


def test_folder_with_other_contents_raises_and_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(games.GameError, match="not empty"):
        make(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(games.GameError, match="it is a file"):
        make(tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "treasur"}, "did you mean 'treasure'"),
        ({"split": "tain"}, "did you mean 'train'"),
        ({"levels": [31]}, "--levels 31: expected levels of treasure from 1 to 30"),
        ({"levels": []}, "levels: expected"),
        ({"levels": [1, 1]}, "levels: expected"),
        ({"per_level": 0}, "--per-level 0: expected"),
        ({"workers": 0}, "--workers 0: expected"),
        ({"settings": {"gaol": "none"}}, "did you mean 'goal'"),
        ({"settings": {"seed": "3"}}, "option of its own, --seed"),
    ],
)
def test_invalid_request_raises(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(games.GameError, match=message):
        make(tmp_path / "out", **change)


@pytest.mark.slow
def test_level_with_too_few_games_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("games.textworld.generation.dataset.PATIENCE", 2)
    monkeypatch.setattr("games.textworld.generation.dataset._seed", lambda request, level, number: 0)
    split = split_of(canonical_hash(make_game("treasure", {"seed": 0})))
    seen: list[Progress] = []
    with pytest.raises(games.GameError, match=f"only 1 different games were found for the {split} split, 2 were"):
        make(tmp_path, split=split, levels=[1], workers=1, on_progress=seen.append)
    assert seen[-1].rejected == {"duplicates": 2}


MISTAKES: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "manifest is empty"),
    "no json": (lambda text: text[:50], "line 1: not JSON"),
    "no object": (lambda text: "[1]\n" + text, "line 1: expected an object"),
    "missing key": (lambda text: text.replace('"level": 1, ', "", 1), "exactly the keys"),
    "wrong type": (lambda text: text.replace('"level": 1', '"level": "1"', 1), "level: expected int, got str"),
    "wrong split": (lambda text: text.replace('"train"', '"tain"', 1), "split: expected one of"),
    "outside": (lambda text: text.replace('"tw-', '"../tw-', 1), "file: expected the name"),
    "missing file": (lambda text: text.replace("level1-0001", "level1-0009", 1), "is missing"),
    "wrong hash": (lambda text: text.replace('"sha256": "', '"sha256": "0', 1), "damaged or was changed"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_invalid_manifest_raises_one_line(name: str, folder: Path, tmp_path: Path) -> None:
    change, message = MISTAKES[name]
    manifest = copy(folder, tmp_path / "copy") / "manifest.jsonl"
    manifest.write_text(change(manifest.read_text()))
    with pytest.raises(games.GameError, match=message) as error:
        games.resolve(str(manifest))
    assert "\n" not in str(error.value)


def test_changed_game_file_raises(folder: Path, tmp_path: Path) -> None:
    out = copy(folder, tmp_path / "copy")
    record = out / "tw-treasure-level1-0001.json"
    record.write_text(record.read_text().replace("open", "0pen", 1))
    with pytest.raises(games.GameError, match="damaged or was changed"):
        games.resolve(str(out))


def test_one_split_can_be_selected_from_a_manifest(folder: Path) -> None:
    assert len(games.resolve(str(folder), split="train")) == 4
    with pytest.raises(games.GameError, match="no game of the test split; it holds: train"):
        games.resolve(str(folder), split="test")
    with pytest.raises(games.GameError, match="did you mean 'train'"):
        games.resolve(str(folder), split="tarin")


@pytest.mark.parametrize(("text", "levels"), [("1", [1]), ("1-3,7", [1, 2, 3, 7]), (" 2 , 4-4", [2, 4])])
def test_levels_are_numbers_and_ranges(text: str, levels: list[int]) -> None:
    assert games.parse_levels(text) == levels


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-2", "1..3", "1,,2", "0-10000"])
def test_levels_that_are_none_get_one_line(text: str) -> None:
    with pytest.raises(games.GameError, match=f"^--seeds {text}: "):
        games.parse_levels(text, "--seeds")
