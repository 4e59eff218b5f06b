"""Every registered game keeps the contract of the package `games`, made directly and through Gymnasium."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env

import games
from games.base import TextGame
from games.game_strings import ENTRY_POINTS

SIMPLE = "textworld:simple?level=1&seed=7"
KEYWORDS: dict[str, dict[str, Any]] = {
    "actde/Bandit-v0": {},
    "actde/Completion-v0": {"choices": (" wonderful", " awful")},
    "actde/IPD-v0": {},
    "actde/TextWorld-v0": {"game": SIMPLE},
}
STRINGS = ["bandit", "ipd", SIMPLE, "textworld:treasure?level=1&seed=0", "textworld:cooking?level=2&seed=1"]
ODD = ["", " ", "xyzzy", "\\boxed{go east}", "a\0b", "go\neast", "\ud800", "é", "go east. go east", "x" * 10_000]


def test_contract_covers_every_registered_game() -> None:
    assert set(ENTRY_POINTS) == set(KEYWORDS)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_gymnasium_checker_passes(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(name, **KEYWORDS[name])
        check_env(env.unwrapped)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_gymnasium_makes_games_by_their_module_prefix(name: str) -> None:
    code = (
        f"import gymnasium; env = gymnasium.make('games:{name}', **{KEYWORDS[name]!r});"
        "text, info = env.reset(seed=0); env.step(info['admissible_commands'][0])"
    )
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True, timeout=120)


def test_textworld_entry_point_takes_one_game_and_gymnasiums_render_modes() -> None:
    env: gymnasium.Env[str, str] = gymnasium.make("actde/TextWorld-v0", game=SIMPLE, render_mode="ansi_list")
    opening, _ = env.reset(seed=0)
    text = env.step("look")[0]
    assert cast("Any", env.render()) == [opening, f"> look\n{text}"]
    for game, what in (("bandit", "a bandit game"), ("textworld:simple?seed=1..2", "2 games")):
        with pytest.raises(games.GameError, match=f"expected one TextWorld game, got {what}"):
            gymnasium.make("actde/TextWorld-v0", game=game)


def test_importing_games_imports_no_heavy_package() -> None:
    code = "import sys, games; assert not {'textworld', 'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture(params=STRINGS)
def env(request: pytest.FixtureRequest) -> TextGame:
    env = games.resolve(request.param)[0].make()
    assert isinstance(env, TextGame)
    return env


def check_step(env: TextGame, text: object, info: dict[str, object], over: bool) -> None:
    assert isinstance(text, str)
    assert text == text.strip()
    assert text in env.observation_space
    commands = info["admissible_commands"]
    assert isinstance(commands, list)
    assert commands == sorted(commands)
    assert all(isinstance(command, str) for command in commands)
    assert bool(commands) is not over
    assert {"score", "won", "lost", "moves"} <= set(info)
    assert isinstance(info["won"], bool)
    assert isinstance(info["lost"], bool)


def test_random_episode_keeps_the_contract(env: TextGame) -> None:
    rng = np.random.default_rng(0)
    text, info = env.reset(seed=0)
    check_step(env, text, info, over=False)
    assert isinstance(env.metadata["prompt"], str)
    assert isinstance(env.metadata["terminator"], str)
    total, over = 0.0, False
    for turn in range(1, env.max_turns + 1):
        command = str(rng.choice(info["admissible_commands"]))
        text, reward, terminated, truncated, info = env.step(command)
        over = terminated or truncated
        check_step(env, text, info, over)
        assert type(reward) is float
        total += reward
        assert info["score"] == pytest.approx(total)
        assert info["moves"] == turn
        assert not (terminated and truncated)
        assert terminated or not (info["won"] or info["lost"])
        if over:
            break
    assert over
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("look")


def test_same_seed_and_commands_give_the_same_episode(env: TextGame) -> None:
    def play() -> list[object]:
        text, info = env.reset(seed=5)
        steps: list[object] = [text, info]
        while info["admissible_commands"] and len(steps) < 20:
            step = env.step(info["admissible_commands"][len(steps) % len(info["admissible_commands"])])
            info = step[4]
            steps.append(step)
        return steps

    assert play() == play()


def test_any_text_is_a_legal_command_and_other_types_raise(env: TextGame) -> None:
    for word in ODD:
        env.reset(seed=0)
        text, _, _, _, info = env.step(word)
        assert isinstance(text, str)
        assert info["moves"] == 1
    env.reset(seed=0)
    for wrong in (None, 3, b"look", ["look"]):
        with pytest.raises(TypeError, match="a command is a str"):
            env.step(wrong)  # type: ignore[arg-type]
    assert env.step("look")[4]["moves"] == 1


def test_step_needs_a_reset_first_and_after_close(env: TextGame) -> None:
    with pytest.raises(ResetNeeded):
        env.step("look")
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ResetNeeded):
        env.step("look")
    assert env.reset(seed=1)[0]


def test_turn_limit_truncates_without_terminating() -> None:
    for game in ("ipd", SIMPLE):
        env = games.resolve(game)[0].make(max_turns=3)
        env.reset(seed=0)
        ends = [env.step("cooperate")[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_turn_limit_out_of_range_raises(limit: int) -> None:
    with pytest.raises(games.GameError, match=f"max_turns={limit}: expected"):
        games.resolve("ipd")[0].make(max_turns=limit)


def test_render_returns_the_last_command_and_its_text() -> None:
    for game, command, shown in (
        ("bandit", " party", " party"),
        ("ipd?start=defect", "cooperate", "cooperate"),
        (SIMPLE, "xyzzy", "> xyzzy\nThat's not a verb I recognise."),
    ):
        env = games.resolve(game)[0].make(render_mode="ansi")
        opening, _ = env.reset(seed=0)
        assert env.render() == opening
        env.step(command)
        assert env.render() == shown
        silent = games.resolve(game)[0].make()
        silent.reset(seed=0)
        silent.step(command)
        assert silent.render() is None
    with pytest.raises(games.GameError, match="render_mode='human': expected 'ansi' or None"):
        games.resolve("bandit")[0].make(render_mode="human")


def test_lazy_generator_gives_gymnasiums_random_stream(env: TextGame) -> None:
    env.reset(seed=5, options={"start": "defect"} if "start" in env.reset_options else None)
    expected = seeding.np_random(5)[0]
    assert env.np_random_seed == 5
    assert list(env.np_random.integers(1000, size=4)) == list(expected.integers(1000, size=4))
    env.reset(options={"start": "defect"} if "start" in env.reset_options else None)
    assert env.np_random.integers(1000) == expected.integers(1000)
    with pytest.raises(gymnasium.error.Error, match="greater or equal to zero"):
        env.reset(seed=-1)
    env.np_random = np.random.default_rng(3)
    assert env.np_random_seed == -1
    assert env.np_random.integers(1000) == np.random.default_rng(3).integers(1000)


def test_requested_infos_equal_textworlds() -> None:
    import textworld

    lists = ["command_templates", "verbs", "entities", "typed_entities"]
    env = games.resolve(SIMPLE)[0].make(infos=["score", "feedback", "last_command", *lists])
    theirs = textworld.start(str(env.unwrapped.path), textworld.EnvInfos(**dict.fromkeys(lists, True)))  # type: ignore[attr-defined]
    state = theirs.reset()
    text, info = env.reset(seed=0)
    assert (info["feedback"], info["last_command"]) == (text, None)
    for command, reached in (("look", "look"), ("\\boxed{look}", None), ("l", "look")):
        text, _, _, _, info = env.step(command)
        assert (info["feedback"], info["last_command"]) == (text, reached)
        assert all(info[name] == state[name] for name in lists)
    theirs.close()


def test_unknown_reset_options_and_infos_suggest_the_nearest_name() -> None:
    with pytest.raises(games.GameError, match="did you mean 'start'"):
        games.resolve("ipd")[0].make().reset(options={"strat": "defect"})
    with pytest.raises(games.GameError, match="did you mean 'inventory'"):
        games.resolve(SIMPLE)[0].make(infos=["inventor"])
