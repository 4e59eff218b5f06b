"""Games of other suites keep the contract of the package `games`. The suites themselves are installed for the tests."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import games
from games.base import TextGame
from tests import ROOT

GAMES = [
    "express:cookingworld?seed=3",
    "express:twc",
    "express:coin?seed=1&fold=test&numLocations=5",
    "express:mapreader?seed=4",
    "express:arithmetic",
    "express:sorting?seed=2",
    "express:simonsays?seed=9&gameLength=8",
    "express:peckingorder?seed=5",
    "textarena:FrozenLake-v0?choices=up,down,left,right",
    "textarena:GuessTheNumber-v0?seed=3&choices=[3],[7],[11],[15]",
    "textarena:2048-v0-3x3?choices=[up],[down],[left],[right]",
    "textarena:Bandit-v0?choices=[red],[blue],[green]",
]
FIND = "scienceworld:find-animal?seed=1&simplify=easy"
SCIENCE = [
    "scienceworld:boil?seed=3",
    "scienceworld:find-animal?simplify=easy",
    "scienceworld:grow-plant?simplify=easy",
]
ALL = [*GAMES, pytest.param(FIND, marks=pytest.mark.slow)]
ODD = ["", " ", "xyzzy", "\\boxed{go east}", "a\0b", "go\neast", "\ud800", "é", "x" * 10_000, "help", "quit", "restart"]


def make(game: str, **keywords: Any) -> TextGame:
    (spec,) = games.resolve(game)
    env = spec.make(**keywords).unwrapped
    assert isinstance(env, TextGame)
    return env


def play(env: TextGame, steps: int, seed: int = 0) -> list[Any]:
    """Play random commands, in several episodes if needed, and return everything that the game returned."""
    rng = np.random.default_rng(seed)
    text, info = env.reset(seed=seed)
    record: list[Any] = [(text, info)]
    for _ in range(steps):
        if info["admissible_commands"]:
            text, reward, terminated, truncated, info = env.step(str(rng.choice(info["admissible_commands"])))
            record.append((text, reward, terminated, truncated, info))
        else:
            text, info = env.reset(seed=seed)
            record.append((text, info))
    return record


@pytest.mark.parametrize("game", ALL)
def test_random_episodes_keep_the_contract(game: str) -> None:
    check_random_steps(game, 20 if "science" in game else 500)


@pytest.mark.slow
@pytest.mark.parametrize("game", SCIENCE)
def test_five_hundred_random_steps_of_scienceworld_keep_the_contract(game: str) -> None:
    check_random_steps(game, 500)


def check_random_steps(game: str, steps: int) -> None:
    env, total, turns = make(game), 0.0, 0
    for result in play(env, steps):
        text, info = result[0], result[-1]
        assert text == text.strip()
        assert text in env.observation_space
        commands = info["admissible_commands"]
        assert commands == sorted(set(commands)), "sorted, each command once"
        assert all(command.strip() and "\n" not in command for command in commands)
        assert isinstance(info["won"], bool)
        assert isinstance(info["lost"], bool)
        if len(result) == 2:
            total, turns = 0.0, 0
            assert info["objective"] in text
        else:
            _, reward, terminated, truncated, _ = result
            assert type(reward) is float
            total, turns = total + reward, turns + 1
            assert bool(commands) is not (terminated or truncated), "each of these games lists commands"
            assert truncated is (turns == env.max_turns and not terminated)
            assert not (info["won"] or info["lost"]) or terminated
        assert info["score"] == pytest.approx(total)
        assert info["moves"] == turns


@pytest.mark.parametrize("game", ALL)
def test_episodes_depend_on_seed_and_commands_alone(game: str) -> None:
    steps = 5 if "science" in game else 60
    alone = play(make(game), steps)
    play(make(game), steps // 2, seed=5)
    assert play(make(game), steps) == alone, "after other episodes"


@pytest.mark.parametrize("several", [GAMES, pytest.param([FIND, *SCIENCE], marks=pytest.mark.slow)])
def test_environments_that_take_turns_do_not_affect_each_other(several: list[str]) -> None:
    alone = [play(make(game), 20) for game in several]
    envs = [(make(game), np.random.default_rng(0)) for game in several]
    records: list[list[Any]] = [[env.reset(seed=0)] for env, _ in envs]
    for _ in range(20):
        for (env, rng), record in zip(envs, records, strict=True):
            commands = record[-1][-1]["admissible_commands"]
            record.append(env.step(str(rng.choice(commands))) if commands else env.reset(seed=0))
    assert records == alone


@pytest.mark.parametrize("game", ALL)
def test_any_text_is_a_legal_command(game: str) -> None:
    env = make(game)
    env.reset(seed=0)
    for turn, command in enumerate(ODD, start=1):
        text, _, terminated, _, info = env.step(command)
        assert isinstance(text, str)
        assert info["moves"] == turn
        assert not terminated or "textarena" in game, "two invalid commands end a game of TextArena"
        if terminated:
            break
    env.reset(seed=0)
    with pytest.raises(TypeError, match="a command is a str"):
        env.step(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("game", [*(game for game in GAMES if "textarena" not in game), ALL[-1]])
def test_walkthrough_wins_the_game(game: str) -> None:
    env = make(game, infos=["policy_commands"], max_turns=1000)
    _, info = env.reset(seed=0)
    for command in info["extra.walkthrough"]:
        if not info["admissible_commands"]:
            break
        # ScienceWorld accepts more names of an object than it lists
        assert command in info["admissible_commands"] or "science" in game
        *_, info = env.step(command)
    assert info["won"]
    assert info["score"] == pytest.approx(info["max_score"])


@pytest.mark.parametrize("game", ALL)
def test_canonical_name_resolves_to_the_same_spec(game: str) -> None:
    (spec,) = games.resolve(game)
    assert games.resolve(spec.name) == [spec]


def test_ranges_of_seeds_give_several_games() -> None:
    names = [spec.name for spec in games.resolve("express:coin?numLocations=3&seed=8..10")]
    assert names == [f"express:coin?seed={seed}&numLocations=3" for seed in (8, 9, 10)]


MISTAKES = [
    ("express:", "express has no game ''; known are: arithmetic, coin"),
    ("express:cooking", "did you mean 'cookingworld'"),
    ("express:coin?sed=3", "express:coin has no setting 'sed'; did you mean 'seed'"),
    ("express:coin?seed=-1", "seed=-1: expected a whole number from 0"),
    ("express:coin?fold=tst", "expected one of train, dev, test; did you mean 'test'"),
    ("express:coin?numLocations=50", "Number of locations must be less than or equal to 11"),
    ("express:coin?numLocations=99999999999", "expected a whole number from 0 to 10000"),
    ("scienceworld:bol", "scienceworld has no game 'bol'; did you mean 'boil'"),
    ("scienceworld:boil?seed=99", "The requested variation (99) exceeds the total number of variations (30)"),
    ("scienceworld:boil?simplify=esy", "scienceworld:boil: simplify=esy: did you mean 'easy'"),
    ("textarena:Chess-v0", "textarena has no game 'Chess-v0'"),
    ("textarena:FrozenLake", "did you mean 'FrozenLake-v0'"),
    ("textarena:FrozenLake-v0?choices=up,", "expected choices of printable characters, none blank"),
    ("textarena:TwentyQuestions-v0", "textarena:TwentyQuestions-v0 failed: OpenRouter API key not found"),
    ("expres:coin", "no game is called 'expres:coin'; did you mean"),
]


@pytest.mark.parametrize(("game", "message"), MISTAKES)
def test_errors_are_one_line(game: str, message: str) -> None:
    with pytest.raises(games.GameError) as error:
        games.resolve(game)[0].make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_textarena_leaves_pythons_random_generator_and_its_streams_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = random.getstate()
    play(make("textarena:RushHour-v0?seed=1&choices=[A+],[B-]"), 5)
    assert random.getstate() == before
    assert capsys.readouterr().out == ""


def test_seed_of_the_reset_selects_the_episode_unless_the_game_fixes_it() -> None:
    def openings(game: str) -> set[str]:
        env = make(game)
        return {env.reset(seed=seed)[0] for seed in range(5)}

    assert len(openings("textarena:FrozenLake-v0-hardcore")) > 1
    assert len(openings("textarena:FrozenLake-v0-hardcore?seed=3")) == 1


def test_textarena_game_without_choices_is_free_text() -> None:
    env = make("textarena:GuessTheNumber-v0?seed=3")
    _, info = env.reset(seed=0)
    assert info["admissible_commands"] == []
    low, high = 1, 20
    while not (info["won"] or info["lost"]):
        text, reward, *_, info = env.step(f"[{(low + high) // 2}]")
        low, high = (low, (low + high) // 2 - 1) if "lower" in text else ((low + high) // 2 + 1, high)
    assert info["won"]
    assert reward == info["max_score"] == 1


def test_missing_data_of_nltk_is_not_downloaded_and_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import games, os, socket\n"
        "socket.getaddrinfo = lambda *words, **options: os.write(1, b'a connection')\n"
        "games.resolve('textarena:Wordle-v0')[0].make()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "NLTK_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    *traceback, line = done.stderr.splitlines()
    assert line == (
        "games.errors.GameError: textarena:Wordle-v0 needs NLTK data, which is not installed;"
        " run: python -P -m nltk.downloader words averaged_perceptron_tagger_eng"
    )
    assert (done.stdout, traceback[0]) == ("", "Traceback (most recent call last):")
    assert "nltk_data]" not in done.stderr
