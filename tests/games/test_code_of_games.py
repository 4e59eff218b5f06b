"""Code that GAME strings name: found in settings and in unusual folders, with unusual constructors."""

from pathlib import Path

import pytest

import games
from agents.imports import merge_imports
from games.game_strings import code_in
from tests.games.test_external_games import SOURCE, played

pytestmark = pytest.mark.usefixtures("clean_registry")


def test_only_the_code_that_a_game_names_is_found() -> None:
    assert code_in("textworld:simple?level=1 + bandit + express:cookingworld") == set()
    assert code_in("completion?reward=sentiment*1,contains:sea") == set()
    rewards = code_in("completion?reward=my.words:score,/tmp/r.py:f", "pack.age:judge")
    assert rewards == {"my.words", "/tmp/r.py", "pack.age"}
    assert code_in("my.games:Guess?a=1 + /tmp/g.py:mine/Guess-v0") == {"my.games", "/tmp/g.py"}
    assert code_in("phys2d/CartPole-v1") == {"gymnasium.envs.phys2d.cartpole"}, "this class imports jax"


def test_our_games_have_one_name_each_so_that_the_code_in_their_settings_is_found(tmp_path: Path) -> None:
    code = tmp_path / "words.py"
    for name in ("actde/Completion-v0", "games:actde/Completion-v0", "games.completion:Completion"):
        game = f"{name}?reward={code}:score"
        assert code_in(game) == {str(code)}
        assert games.resolve(game)[0].kind == "completion"
    assert games.resolve("actde/IPD-v0?payoff=post") == games.resolve("ipd?payoff=post")
    for name in ("actde/TextWorld-v0", "games.game_strings:make_textworld"):
        for function in (games.resolve, code_in):
            with pytest.raises(games.GameError, match="our games are called bandit, completion, ipd"):
                function(f"{name}?game={code}:Guess")


@pytest.mark.parametrize("folder", ["my games", "c++", "a=b&c", "with:colon"])
def test_code_is_found_in_folders_with_unusual_names(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "mine.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    assert played(f"{path}:Guess?word=low", "low")[1][2]
    assert code_in(f"{path}:Guess?word=low") == {str(path)}
    assert merge_imports(f"{path}:Guess,{path}") == f"{path}:Guess,{path}"


def test_a_path_that_separates_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b" / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path / "a,b")
    with pytest.raises(games.GameError, match=r"expected a path of code without '\?', ',' and '\*'"):
        games.resolve("mine.py:Guess")


UNUSUAL = """
from __future__ import annotations
from typing import TYPE_CHECKING, Literal
import gymnasium
from gymnasium.spaces import Text
if TYPE_CHECKING:
    from collections.abc import Sequence


class Base(gymnasium.Env):
    observation_space = action_space = Text(99)
    bonus = level = 0
    vocabulary = 17  # another meaning than that of `TextGame.vocabulary`

    def parameters(self):
        pass

    def reset(self, *, seed=None, options=None):
        return f"bonus {self.bonus} level {self.level}", {}

    def step(self, action):
        return "", 0.0, True, False, {}


class Typed(Base):
    def __init__(self, bonus: float = 0, level: Literal[1, 2] = 1, words: Sequence[str] = ()):
        self.bonus, self.level = bonus, level


class NoActions(gymnasium.Env):
    reset, step = Base.reset, Base.step


gymnasium.register("mine/Typed", entry_point=Typed, kwargs={"bonus": 3.0, "level": 2})
"""


@pytest.mark.parametrize(
    ("game", "text"),
    [
        ("Base", "bonus 0 level 0"),
        ("Typed", "bonus 0 level 1"),
        ("Typed?bonus=0.5&level=2", "bonus 0.5 level 2"),
        ("mine/Typed", "bonus 3.0 level 2"),
        ("mine/Typed?bonus=0", "bonus 0.0 level 2"),
    ],
)
def test_unusual_constructors_are_understood(tmp_path: Path, game: str, text: str) -> None:
    (tmp_path / "unusual.py").write_text(UNUSUAL)
    ((observation, _),) = played(f"{tmp_path / 'unusual.py'}:{game}")
    assert observation == text


def test_an_environment_without_an_action_space_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unusual.py").write_text(UNUSUAL)
    with pytest.raises(games.GameError, match="whose actions are texts, got action_space=None"):
        games.resolve(f"{tmp_path / 'unusual.py'}:NoActions")[0].make()
