"""Games of others: GAME strings that name them, their settings, and what happens if they misbehave."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.error import ResetNeeded

import games
from games import external_games
from games.code_import import import_code
from games.game_strings import code_in

SOURCE = """
from typing import Literal
import gymnasium
from gymnasium.spaces import Text
from games.base import StepResult, TextGame


class Guess(TextGame):
    def __init__(self, bonus: float = 0.0, word: str = "high", kind: Literal["a", "b"] = "a", data=None):
        super().__init__(max_turns=2)
        self.bonus, self.word, self.kind = bonus, word, kind

    def _start(self, options):
        return StepResult(text=f"High or low? {self.np_random.integers(1000)}", commands=("high", "low"))

    def _play(self, command):
        won = command == self.word
        return StepResult(text="Yes." if won else "No.", reward=float(won) + self.bonus, terminated=won, won=won)


class Plain(gymnasium.Env):
    observation_space = action_space = Text(99)

    def __init__(self, length: int = 3, seed: int = 5):
        self.length, self.own_seed = length, seed

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn = 0
        return "Say anything.", {}

    def step(self, action):
        self.turn += 1
        return action, len(action), self.turn == self.length, False, {"admissible_commands": ("b", "a")}


def make_plain():
    return Plain(length=1)


gymnasium.register("mine/Guess-v0", entry_point=Guess, kwargs={"bonus": 1.0}, max_episode_steps=1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


pytestmark = pytest.mark.usefixtures("clean_registry")


def played(game: str, *commands: str, max_turns: int | None = None) -> list[Any]:
    (spec,) = games.resolve(game)
    assert games.resolve(spec.name) == [spec]
    env = spec.make(max_turns=max_turns)
    return [env.reset(seed=3), *map(env.step, commands)]


def test_a_class_in_a_file_is_a_game(file: Path) -> None:
    (_, info), (text, reward, terminated, *_) = played(f"{file}:Guess", "high")
    assert info["admissible_commands"] == ["high", "low"]
    assert (text, reward, terminated) == ("Yes.", 1.0, True)


def test_a_path_may_be_relative(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert games.resolve("mine.py:Guess")[0].target == f"{file}:Guess"


def test_a_module_is_imported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    assert played("mine:Guess", "high")[1][1] == 1.0
    monkeypatch.delitem(sys.modules, "mine")


@pytest.fixture
def package(file: Path) -> Path:
    """A folder `odd` with the file `words.py` and a game in `world.py` that imports it, but without `__init__.py`."""
    folder = file.parent / "odd"
    folder.mkdir()
    (folder / "words.py").write_text("WORD = 'low'")
    (folder / "world.py").write_text(f"from .words import WORD\n{SOURCE}\nclass World(Guess): pass")
    return folder


def test_a_game_in_several_files_is_a_package(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = rf"a package; import the class in {package}/__init__.py, and name {package}/__init__.py:Class"
    with pytest.raises(games.GameError, match=rf"\A{package}/world.py cannot be imported: [^\n]*{advice}\Z"):
        games.resolve(f"{package}/world.py:World")
    with pytest.raises(games.GameError, match=f"{package} is no package; import World in {package}/__init__.py"):
        games.resolve(f"{package}:World")
    (package / "__init__.py").write_text("from .world import World")
    monkeypatch.chdir(package.parent)
    for name in (f"{package}:World", "./odd:World"):
        assert games.resolve(f"{name}?seed=1..2") == games.resolve(f"{package}/__init__.py:World?seed=1..2")
        assert code_in(f"bandit + {name}?seed=1") == {f"{package}/__init__.py"}
        assert played(f"{name}?word=low", "low")[1][0] == "Yes."
    with pytest.raises(games.GameError, match=r"no module 'odd'; name the file: odd/__init__\.py:World"):
        games.resolve("odd:World")
    (package.parent / "nearby.py").write_text(SOURCE)
    with pytest.raises(games.GameError, match=r"no module 'nearby'; name the file: nearby\.py:Guess"):
        games.resolve("nearby:Guess")


@pytest.mark.parametrize("statement", ["import words", "from words import WORD", "import words.more"])
def test_an_import_of_a_file_beside_the_game_is_explained(package: Path, statement: str) -> None:
    (package / "world.py").write_text(statement)
    init = package / "__init__.py"
    with pytest.raises(games.GameError) as error:
        games.resolve(f"{package}/world.py:World")
    assert str(error.value) == (
        f"{package}/world.py cannot be imported: it imports 'words', which is beside it; make the folder a package "
        f"(write `from . import words`, import the class in {init}, and name {init}:Class), or install 'words'"
    )
    init.write_text(statement)
    with pytest.raises(games.GameError, match=r"beside it; write `from \. import words`, or install 'words'\Z"):
        games.resolve(f"{package}:World")
    init.write_text("import wordzz")  # of another length, so that Python compiles it again
    with pytest.raises(
        games.GameError, match=r"got ModuleNotFoundError: No module named 'wordzz' \(__init__.py, line 1"
    ):
        games.resolve(f"{package}:World")


def test_a_file_without_a_class_is_answered_by_its_environments(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package.parent)
    (package.parent / "lift.py").write_text(
        "raise SystemExit('imported')\n"
        "class Tool: pass\n"
        "class Lift(gymnasium.Env[str, str]): pass\n"
        "class Fast(Lift): pass\n"
    )
    for name in ("lift.py", "lift.py?seed=1"):
        with pytest.raises(games.GameError, match=r"\Alift.py .* name the class: lift.py:Lift or lift.py:Fast\Z"):
            games.resolve(name)
    with pytest.raises(
        games.GameError, match=r"\Ano game is called 'lift'; lift.py is .* name the class: lift.py:Lift"
    ):
        games.resolve("lift")
    (package / "__init__.py").write_text("not Python")
    with pytest.raises(games.GameError, match=r"name the class: .*/odd/__init__.py:Class\Z"):
        games.resolve("odd")


def test_a_registered_environment_keeps_its_settings_and_its_limit(file: Path) -> None:
    with pytest.raises(games.GameError, match=r"mine/Guess-v0 is not registered.*--import"):
        games.resolve("mine/Guess-v0")
    first = played(f"{file}:mine/Guess-v0", "low")[1]
    assert (first[1], first[3]) == (1.0, True)
    assert played("mine/Guess-v0?bonus=3", "low")[1][1] == 3.0


@pytest.mark.parametrize("name", ["guess", "open"])  # "open" is also a kind of `GameSpec`
def test_an_entry_point_is_a_game(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    entry = EntryPoint(name=name, value="mine:Guess", group=external_games.GROUP)
    monkeypatch.setattr(external_games, "entry_points", EntryPoints([entry]).select)
    monkeypatch.setattr("games.code_import._NAMED", {})  # other tests name the same module
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert code_in(f"{name}?word=low + bandit") == {"mine"}
    with pytest.raises(games.GameError, match="the run needs code that is imported only if you name it: mine"):
        games.resolve_stored(f"{name}?word=low", "the run")
    assert "mine" not in sys.modules
    assert played(f"{name}?word=low", "low")[1][1] == 1.0
    import_code("mine")
    assert games.resolve_stored(f"{name}?word=low", "the run") == games.resolve(f"{name}?word=low")
    monkeypatch.delitem(sys.modules, "mine")


def test_settings_have_the_types_of_the_signature(file: Path) -> None:
    env = games.resolve(f"{file}:Guess?bonus=0.5&word=low&kind=b")[0].make().unwrapped
    assert (env.bonus, env.word, env.kind) == (0.5, "low", "b")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("bonus=x", "bonus=x: expected a number"),
        ("kind=c", "kind=c: expected one of a, b"),
        ("bons=1", "no setting 'bons'; did you mean 'bonus'"),
        ("data=1", "no setting 'data'"),
        ("seed=-1", "seed=-1: expected a whole number of at least 0"),
        ("seed=3..1", "expected a range from low to high"),
    ],
)
def test_wrong_settings_are_refused(file: Path, query: str, message: str) -> None:
    with pytest.raises(games.GameError, match=message):
        games.resolve(f"{file}:Guess?{query}")


def test_seeds_fix_the_episodes(file: Path) -> None:
    specs = games.resolve(f"{file}:Guess?seed=1..3")
    texts = [spec.make().reset(seed=seed)[0] for spec in specs for seed in (8, 9)]
    assert texts[::2] == texts[1::2]
    assert len(set(texts)) == 3
    plain = games.resolve(f"{file}:Plain?seed=7")[0].make().unwrapped
    assert plain.own_seed == 7  # type: ignore[attr-defined]  # its own argument


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Gues", "has no class 'Gues'; did you mean 'Guess'"),
        ("mine/Other-v0", "registers no environment 'mine/Other-v0'"),
        ("StepResult", "expected an environment from the constructor"),
    ],
)
def test_what_is_no_environment_is_refused(file: Path, name: str, message: str) -> None:
    with pytest.raises(games.GameError, match=message):
        games.resolve(f"{file}:{name}")[0].make()
    with pytest.raises(games.GameError, match="no such file"):
        games.resolve(f"{file}x.py:{name}")


def test_an_environment_without_texts_is_refused() -> None:
    with pytest.raises(games.GameError, match=r"whose actions are texts, got action_space=Discrete\(2\)"):
        games.resolve("CartPole-v1")[0].make()


def test_a_plain_environment_follows_our_rules(file: Path) -> None:
    (_, start), *steps = played(f"{file}:Plain", "one", "three", max_turns=2)
    assert start == {"score": 0.0, "won": None, "lost": False, "moves": 0, "admissible_commands": []}
    assert [step[1] for step in steps] == [3.0, 5.0]
    assert [step[2:4] for step in steps] == [(False, False), (False, True)]
    assert steps[1][4]["score"] == 8.0
    assert steps[0][4]["admissible_commands"] == ["a", "b"]
    assert steps[1][4]["admissible_commands"] == []
    over = played(f"{file}:make_plain", "x")[1]
    assert over[2] and over[4]["admissible_commands"] == []


def test_a_step_outside_an_episode_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = games.resolve(f"{file}:make_plain")[0].make()
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step("x")
        env.reset(seed=0)
        while not any(env.step("x")[2:4]):
            pass
    env.reset(seed=0)
    monkeypatch.setattr(type(env.unwrapped), "step", lambda self, action: None)
    with pytest.raises(games.EpisodeError):
        env.step("x")
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step("x")


@pytest.mark.parametrize(
    ("infos", "won"),
    [
        ([{}, {}], None),
        ([{}, {"won": True}], True),
        ([{"won": False}, {}], False),
        ([{"won": True}, {}], True),
        ([{"won": True}, {"won": None}], True),
        ([{}, {"won": 1.0}], True),
        ([{}, {"lost": True}], False),
        ([{"won": None}, {"won": None}], None),
    ],
)
def test_a_missing_win_has_the_last_value_of_the_episode(infos: list[dict[str, Any]], won: bool | None) -> None:
    class Told(gymnasium.Env[str, str]):
        observation_space = action_space = gymnasium.spaces.Text(99)

        def reset(self, **words: Any) -> tuple[str, dict[str, Any]]:
            return "Begin.", infos[0]

        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            return "End.", 0.0, True, False, infos[1]

    env = games.ExternalEnv(Told(), "told")
    for _ in range(2):
        env.reset(seed=0)
        assert env.step("x")[4]["won"] is won
