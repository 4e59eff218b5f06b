"""`engine="stock"` and ACTDE_ENGINE=stock: TextWorld's own environment, without a cache and without patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from games import GameError
from games.game_strings import make_textworld
from games.textworld.engines.protocol import INFOS
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.make_game import cached_game
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import TransitionGraph
from games.textworld.upstream import compile as compiling
from games.textworld.upstream import fast_chaining, game_state, interpreter, rule_simulation, start

PATCHED = (
    (CachedEngine, "__init__"),
    (TransitionGraph, "__init__"),
    (interpreter.Interpreter, "__init__"),
    (game_state.Tracker, "__init__"),
    (start, "_caching_parser"),
    (compiling, "_compile_without_index"),
    (fast_chaining, "_apply"),
    (fast_chaining, "_is_impossible"),
    (fast_chaining, "_init_partial_action"),
    (rule_simulation, "_simulate"),
)
"""Functions that run whenever the cache or a patch is used."""


def play(env: gymnasium.Env[str, str], steps: int) -> list[Any]:
    """All that random play returns."""
    rng = np.random.default_rng(0)
    seen: list[Any] = [env.reset(seed=0)]
    commands = seen[0][1]["admissible_commands"]
    for step in range(steps):
        moment = env.step(str(rng.choice([*commands, "examine zzz", "open", "save"])))
        seen.append(moment)
        commands = moment[4]["admissible_commands"]
        if moment[2] or moment[3] or step % 60 == 59:
            seen.append(env.reset())
            commands = seen[-1][1]["admissible_commands"]
    return seen


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    def entered(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("a patch was entered")

    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, entered)


@pytest.mark.parametrize(
    ("game", "infos"),
    [
        pytest.param("simple?level=1&seed=7", INFOS, marks=pytest.mark.slow),
        ("coin?level=5&seed=1", ()),
        pytest.param("cooking?level=4&seed=2", ("policy_commands",), marks=pytest.mark.slow),
    ],
)
def test_stock_play_equals_cached_play(game: str, infos: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    cached = play(make_textworld(f"textworld:{game}", infos=infos), 200)
    request.getfixturevalue("unpatched")
    env = make_textworld(f"textworld:{game}", infos=infos, engine="stock")
    assert isinstance(env._engine, StockEngine)
    assert play(env, 200) == cached


@pytest.mark.parametrize("name", ["coin", "treasure"])
def test_the_variable_makes_and_plays_the_same_game_without_any_patch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    made = cached_game(name, {"level": 3, "seed": 1})
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    monkeypatch.setenv("ACTDE_ENGINE", "stock")
    request.getfixturevalue("unpatched")
    env = gymnasium.make("games:actde/TextWorld-v0", game=f"textworld:{name}?level=3&seed=1")
    path = env.unwrapped.path  # type: ignore[attr-defined]
    assert path.is_relative_to(tmp_path)
    assert path.read_bytes() == made.read_bytes()
    assert path.with_suffix(".json").read_bytes() == made.with_suffix(".json").read_bytes()
    assert len(play(env, 20)) > 20


def test_the_keyword_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTDE_ENGINE", "stock")
    assert isinstance(make_textworld("textworld:simple?seed=7")._engine, StockEngine)
    assert isinstance(make_textworld("textworld:simple?seed=7", engine="cached")._engine, CachedEngine)


def test_another_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GameError, match="engine=fast: expected one of cached, stock"):
        make_textworld("textworld:simple?seed=7", engine="fast")
    monkeypatch.setenv("ACTDE_ENGINE", "fast")
    with pytest.raises(GameError, match="ACTDE_ENGINE=fast: expected one of cached, stock"):
        make_textworld("textworld:simple?seed=7")
