"""Games in child processes: the time limit holds whatever a game does, and nothing else changes."""

import time
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.error import ResetNeeded

import games
from games import code_import, process_game
from games.child_process import Child
from games.process_game import ProcessGame
from games.textworld.env import TextWorld

SOURCE = """
import ctypes, itertools, os, signal, time
import gymnasium


class Trap(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(99)

    def __init__(self, step: str = "nothing", reset: str = "nothing", constructor: str = "nothing", closed: str = ""):
        globals()[constructor]()
        self.traps, self.closed = (step, reset), closed

    def reset(self, *, seed=None, options=None):
        globals()[self.traps[1]]()
        circle = []
        circle.append(circle)
        return f"Seed {seed}.", {"score": 0, "odd": lambda: 1, "circle": circle, "list": [1, ("a", None)]}

    def step(self, action):
        print("printed by the game")
        if action == "trap":
            globals()[self.traps[0]]()
        return action, 1.0, False, False, {"environment": self}

    def close(self):
        if self.closed:
            open(self.closed, "w")


def nothing(): pass
def loop():
    while True: pass
def sleep(): time.sleep(1000)
def catch_everything():
    while True:
        try: time.sleep(1000)
        except BaseException: pass
def block_in_c(): sum(itertools.repeat(1))
def block_with_the_lock(): ctypes.PyDLL(None).pause()
def exits(): os._exit(3)
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def is_killed(): os.kill(os.getpid(), signal.SIGKILL)
def divide(): 1 / 0
def leave(): exit()
"""
REGISTERED = 'gymnasium.register("mine/Trap-v0", entry_point=Trap)\n'
SECONDS = 20.0  # never reached


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trap.py"
    path.write_text(SOURCE)
    return path


def made(game: str, seconds: float = SECONDS, **keywords: Any) -> Any:
    return games.resolve(game, step_seconds=seconds)[0].make(**keywords)


@pytest.mark.parametrize("how", ["loop", "sleep", "catch_everything", "block_in_c", "block_with_the_lock"])
def test_a_step_that_hangs_ends_the_episode(file: Path, how: str) -> None:
    env = made(f"{file}:Trap?step={how}")
    env.reset(seed=0)
    assert env.step("go")[0] == "go"
    env.seconds, begin = 0.3, time.monotonic()
    with pytest.raises(games.EpisodeError, match=r"Trap.*: expected a result of step within 0\.3 s, got none") as error:
        env.step("trap")
    assert error.value.kind == "time" and time.monotonic() - begin >= 0.3
    assert env._child is None


@pytest.mark.parametrize("how", ["loop", "catch_everything", "block_in_c"])
def test_a_reset_that_hangs_is_an_error_of_the_episode(file: Path, how: str) -> None:
    env = made(f"{file}:Trap?reset={how}", seconds=0.3)
    with pytest.raises(games.EpisodeError, match="expected a result of reset within"):
        env.reset(seed=0)
    with pytest.raises(ResetNeeded):
        env.step("go")


@pytest.mark.parametrize(
    ("how", "status"), [("exits", "exit status 3"), ("crash", "SIGSEGV"), ("is_killed", "SIGKILL")]
)
def test_a_process_that_ends_is_an_error_of_the_episode(file: Path, how: str, status: str) -> None:
    env = made(f"{file}:Trap?step={how}")
    env.reset(seed=0)
    with pytest.raises(games.EpisodeError, match=rf"its process ended \({status}\)") as error:
        env.step("trap")
    assert error.value.kind == "process ended"
    assert env.reset(seed=2)[0] == "Seed 2."


@pytest.mark.parametrize(
    ("how", "message"),
    [("divide", r"got ZeroDivisionError: division by zero \(trap.py, line 43\)"), ("leave", "got SystemExit$")],
)
def test_errors_are_those_that_the_game_raises_in_this_process(file: Path, how: str, message: str) -> None:
    for env in (games.resolve(f"{file}:Trap?step={how}")[0].make(), made(f"{file}:Trap?step={how}")):
        env.reset(seed=0)
        with pytest.raises(games.EpisodeError, match=f"expected a result of step, {message}") as error:
            env.step("trap")
        assert error.value.kind == "step raised"


@pytest.mark.parametrize("how", ["divide", "leave", "exits"])
def test_a_constructor_that_fails_leaves_no_process(file: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    children = []

    def start(*args: Any, **keywords: Any) -> Child:
        children.append(Child(*args, **keywords))
        return children[-1]

    monkeypatch.setattr(process_game, "Child", start)
    with pytest.raises(games.GameError, match="constructor") as error:
        made(f"{file}:Trap?constructor={how}")
    assert error.value and [child.process.poll() is None for child in children] == [False]


@pytest.mark.parametrize("game", ["bandit", "ipd", "textworld:simple?seed=1&goal=brief", "textworld:coin?level=2"])
def test_our_games_are_the_same_in_a_child(game: str) -> None:
    ours: Any = games.resolve(game)[0].make(max_turns=9)
    theirs: Any = made(game, max_turns=9)
    assert isinstance(theirs, ProcessGame)
    assert theirs.metadata == ours.metadata
    assert (theirs.strategies, theirs.vocabulary) == (ours.unwrapped.strategies, ours.unwrapped.vocabulary)
    for seed in range(2):
        expected = ours.reset(seed=seed)
        assert theirs.reset(seed=seed) == expected
        while commands := expected[-1]["admissible_commands"]:
            expected = ours.step(commands[seed % 2])
            assert theirs.step(commands[seed % 2]) == expected
    with pytest.raises(ResetNeeded):
        theirs.step("look")
    with pytest.raises(TypeError, match="a command is a str, got int"):
        theirs.step(3)  # type: ignore[arg-type]
    theirs.close()


def test_a_game_that_other_code_registered_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(SOURCE + REGISTERED)
    monkeypatch.setattr(code_import, "_NAMED", {})  # without the code of other tests, which is gone
    try:
        for name in (f"{file}:mine/Trap-v0", "mine/Trap-v0"):
            env = made(name)
            assert env.reset(seed=4)[0] == "Seed 4."
            env.close()
    finally:
        gymnasium.registry.pop("mine/Trap-v0")


def test_infos_are_plain_and_prints_do_not_reach_standard_output(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env = made(f"{file}:Trap?closed={tmp_path / 'closed'}")
    info = env.reset(seed=0)[1]
    assert info["list"] == [1, ("a", None)]
    assert info["score"] == 0 and not {"odd", "circle"} & set(info)
    assert "environment" not in env.step("go")[4]
    process = env._child.process
    env.close()
    assert (tmp_path / "closed").exists()
    assert process.poll() is not None
    assert capfd.readouterr().out == ""


def test_without_a_limit_games_run_in_this_process(file: Path) -> None:
    assert not isinstance(games.resolve(f"{file}:Trap")[0].make(), ProcessGame)
    assert isinstance(games.resolve("textworld:simple?seed=1")[0].make(), TextWorld)
    assert [spec.step_seconds for spec in games.resolve("bandit + ipd", step_seconds=2)] == [2, 2]
    assert games.resolve("bandit", step_seconds=2) == games.resolve("bandit")
