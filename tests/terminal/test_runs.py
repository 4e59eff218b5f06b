"""The command `runs`."""

import json
from pathlib import Path

import pytest

from agents.storage.run_folder import DIVERGED, SETTINGS
from agents.training.presets import resolve
from terminal.runs import short_number
from tests.agents.storage.test_run_summary import make, row
from tests.conftest import Command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "runs" / "low", [row(0, recent_success=0.25)], lr=0.1)
    make(tmp_path / "runs" / "high", [row(n, recent_success=0.75) for n in range(4)], lr=0.2, q_lr=0.3)
    diverged = make(tmp_path / "runs" / "diverged", [row(0, recent_success=0)], lr=0.1, optimizer="ppo")
    (diverged / DIVERGED).write_text("{}")
    make(tmp_path / "runs" / "bad")
    (tmp_path / "runs" / "bad" / SETTINGS).write_text('{"run": {"sede\\u001b[2J": 1}}')
    return tmp_path / "runs"


def test_runs_are_a_table_of_80_columns_and_damage_is_one_line(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = command("runs", str(folder))
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    (damaged,) = (line for line in lines if line.startswith(f"{folder}/bad/settings.json is damaged"))
    assert "\x1b" not in out and "unknown setting" in damaged
    table = lines[: lines.index(damaged)]
    assert all(len(line) <= 80 for line in table)
    words = [line.split() for line in table if line.startswith((" finished", " stopped", " diverged", " damaged"))]
    assert words == [
        ["finished", "4/4", "won", "75%", "0:16", "160", "1.0kB", "high"],
        ["stopped", "1/4", "won", "25%", "0:04", "40", "1.0kB", "low"],
        ["diverged", "1/4", "return", "+1.00", "0:04", "40", "1.0kB", "diverged"],
        ["damaged", "bad"],
    ]
    (usual,) = (line for line in table if line.startswith("most runs: "))
    assert usual == "most runs: optimizer actde, lr 0.1, q_lr none"
    assert "lr 0.2, q_lr 0.3" in out and out.count("optimizer ppo") == 1 and out.count("actde") == 1
    assert "iterations 4" not in out  # the same in all runs


def test_a_long_value_is_cut_in_the_table_and_whole_as_json(tmp_path: Path, command: Command) -> None:
    games = [" + ".join(f"textworld:coin?level={level}&seed=1..20" for level in range(1, count)) for count in (9, 10)]
    for index, game in enumerate(games):
        make(tmp_path / str(index), [row(0, reward=index)], game=game)
    rows, table = json.loads(command("runs", str(tmp_path), "--json")[1]), command("runs", str(tmp_path))[1]
    assert sorted(each["settings"]["game"] for each in rows) == sorted(games)
    shown = "".join("".join(line.split()) for line in table.splitlines())
    assert games[0].replace(" ", "") not in shown and "…" in shown


def test_json_has_the_settings_that_differ(folder: Path, command: Command) -> None:
    status, out, err = command("runs", str(folder / "low"), str(folder), "--json")
    rows = json.loads(out)
    assert (status, err, len(rows)) == (0, "", 4)  # no run twice
    assert rows[0] == {
        "folder": str(folder / "high"), "state": "finished", "problem": "", "iterations": 4, "planned_iterations": 4,
        "best_of": "success", "best": 0.75, "seconds": 16.0, "env_steps": 20, "tokens": 160, "peak_memory": 1000,
        "settings": {"optimizer": "actde", "lr": 0.2, "q_lr": 0.3},
    }  # fmt: skip
    assert rows[-1]["state"] == "damaged" and rows[-1]["settings"] is None and "is damaged" in rows[-1]["problem"]


@pytest.mark.parametrize(("words", "message"), [((), "runs is no folder"), (("empty",), "no runs in empty: expected")])
def test_a_folder_without_runs_is_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    status, out, err = command("runs", *words)
    assert (status, out) == (2, "") and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_large_numbers_are_short() -> None:
    numbers = (0, 999, 1000, 9_950, 12_345, 3_400_000, 2 * 10**9, 5 * 10**12)
    assert [short_number(number) for number in numbers] == ["0", "999", "1.0k", "9.9k", "12k", "3.4M", "2.0G", "5.0T"]


def test_settings_from_presets_are_left_out(tmp_path: Path, command: Command) -> None:
    texts, open_game = "completion?reward=sentiment", f"{tmp_path}/none.py:make"
    for name, game, given in [("a", "bandit", {}), ("b", texts, {"lr": 0.5}), ("c", open_game, {})]:
        make(tmp_path / name, [row(0)], **resolve({"game": game, **given}).flat())
    rows = {Path(each["folder"]).name: each for each in json.loads(command("runs", str(tmp_path), "--json")[1])}
    assert rows["a"]["settings"] == {"game": "bandit", "lr": 1e-3}
    assert rows["b"]["settings"] == {"game": texts, "lr": 0.5}
    assert rows["c"]["settings"] == {"game": open_game, "lr": 7e-4}


def test_an_empty_setting_is_visible(tmp_path: Path, command: Command) -> None:
    make(tmp_path / "a", [row(0)], imports="mine.py")
    make(tmp_path / "b", [row(0)])
    shown = command("runs", str(tmp_path))[1]
    assert "imports mine.py" in shown and "imports ''" in shown
