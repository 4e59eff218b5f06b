"""Generated games: winnable, the same in every process, identified by a canonical hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import games
from games.errors import GameError
from games.game_hash import game_hash
from games.textworld.generation import make_game as making
from games.textworld.generation.families import FAMILIES
from games.textworld.generation.make_game import cached_game, canonical_hash, make_game

EASY = {
    "simple": "level=1&seed=7",
    "coin": "level=4&seed=1",
    "treasure": "level=11&seed=1",
    "cooking": "level=8&seed=1",
    "quest": "level=3&seed=1&goal=brief",
    "textnav": "level=2&seed=5",
}


def test_these_tests_cover_every_family() -> None:
    assert set(EASY) == set(FAMILIES)


@pytest.mark.parametrize("name", EASY)
def test_walkthrough_is_admissible_and_wins_the_maximum_score(name: str) -> None:
    text, objective = play_walkthrough(f"textworld:{name}?{EASY[name]}")
    assert "$$$" not in text
    assert objective in text


def play_walkthrough(game: str) -> tuple[str, str]:
    """Win a game by its walkthrough; return its opening text and objective."""
    env = games.resolve(game)[0].make(infos=["inventory", "description"])
    opening, info = env.reset(seed=0)
    assert info["description"]
    assert "carrying" in info["inventory"]
    total, terminated, objective = 0.0, False, info["objective"]
    for command in info["extra.walkthrough"]:
        assert command in info["admissible_commands"]
        _, reward, terminated, _, info = env.step(command)
        total += float(reward)
    env.close()
    assert terminated
    assert info["won"]
    assert total == info["score"] == info["max_score"]
    return opening, objective


CODE = """
import hashlib, sys
from games.textworld.generation.make_game import cached_game
for name, values in (("treasure", {"seed": 1, "level": 11}), ("cooking", {"seed": 1, "level": 8})):
    made = cached_game(name, values)
    data = made.read_bytes() + made.with_suffix(".json").read_bytes()
    print(made.name, hashlib.sha256(data).hexdigest())
"""


def test_apostrophe_that_inform_prints_as_a_quote_is_accepted() -> None:
    env = games.resolve("textworld:coin?level=8&seed=2")[0].make()
    text, info = env.reset(seed=0)
    env.close()
    assert "you've" in info["objective"] and 'you"ve' in text, "else this game tests nothing"


@pytest.mark.slow
def test_bytes_do_not_depend_on_process_hash_seed_or_earlier_games(tmp_path: Path) -> None:
    def start(seed: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "ACTDE_CACHE": str(tmp_path / seed)}
        return subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True, env=environment)

    children = [start("1"), start("2")]
    first, second = (child.communicate(timeout=200)[0] for child in children)
    assert first == second
    for line, name, values in zip(
        first.splitlines(), ("treasure", "cooking"), ({"seed": 1, "level": 11}, {"seed": 1, "level": 8}), strict=True
    ):
        made = cached_game(name, values)
        data = made.read_bytes() + made.with_suffix(".json").read_bytes()
        assert line == f"{made.name} {hashlib.sha256(data).hexdigest()}"


@pytest.mark.slow
def test_two_processes_make_the_same_game_once(tmp_path: Path) -> None:
    code = (
        "from games.textworld.generation import make_game as making\n"
        "real = making.write_game\n"
        "making.write_game = lambda game, path: (print('made', flush=True), real(game, path))[1]\n"
        "assert making.cached_game('treasure', {'seed': 3}).exists()"
    )
    environment = {**os.environ, "ACTDE_CACHE": str(tmp_path)}
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=100)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert "".join(outputs) == "made\n"


def test_seed_with_a_faulty_game_gives_a_sound_one() -> None:
    with pytest.raises(making.FaultyGameError, match="limited edition key"):
        making.write_game(make_game("quest", {"level": 6, "seed": 2000000004}), Path("never") / "written.z8")
    with_goal, without_goal = (f"textworld:quest?level=6&seed=2000000004&goal={goal}" for goal in ("detailed", "none"))
    for game in (with_goal, without_goal):
        play_walkthrough(game)
    assert game_hash(games.resolve(with_goal)[0]) == game_hash(games.resolve(without_goal)[0])


def test_seed_with_faulty_games_only_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    checker = "games.textworld.validation.playthrough_check.find_generation_fault"
    monkeypatch.setattr(checker, lambda story, record: "nothing works")
    monkeypatch.setattr(making, "MAX_ATTEMPTS", 2)
    with pytest.raises(GameError, match=r"faulty.*nothing works.*another seed"):
        cached_game("coin", {"seed": 1})
    assert not list(tmp_path.rglob("*.z8"))


def test_canonical_hash_depends_on_the_game_and_not_on_its_wording() -> None:
    base = canonical_hash(make_game("quest", {"level": 2, "seed": 5}))
    assert canonical_hash(make_game("quest", {"level": 2, "seed": 5, "goal": "none"})) == base
    assert canonical_hash(make_game("quest", {"level": 2, "seed": 6})) != base
    assert canonical_hash(make_game("quest", {"level": 3, "seed": 5})) != base


def test_settings_without_a_game_raise_one_line() -> None:
    with pytest.raises(GameError, match="expected at most recipe=1") as error:
        games.resolve("textworld:cooking?recipe=1&take=2")[0].make()
    assert "\n" not in str(error.value)
