"""An engine in a child process responds like one in this process, which its failures do not harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.play.baselines import WalkthroughAgent
from agents.play.runner import EpisodeRunner
from agents.protocol import Decision, EpisodeEnd, Turn
from games import GameError
from games.game_strings import make_textworld
from games.textworld import env
from games.textworld.engines import subprocess_engine
from games.textworld.engines.protocol import INFOS
from games.textworld.engines.stock import StockEngine
from games.textworld.engines.subprocess_engine import SubprocessEngine
from games.textworld.env import TextWorld
from games.textworld.generation.make_game import cached_game
from tests import ROOT

GAME = "textworld:coin?level=4&seed=1"


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A game as TextWorld itself writes it, without our mark."""
    made = cached_game("coin", {"level": 4, "seed": 1})
    shutil.copy(made, tmp_path / "tw-game.z8")
    record = json.loads(made.with_suffix(".json").read_text())
    del record["metadata"]["actde"]
    (tmp_path / "tw-game.json").write_text(json.dumps(record))
    return tmp_path / "tw-game.z8"


@pytest.fixture
def engine(story: Path) -> Iterator[SubprocessEngine]:
    engine = SubprocessEngine(story, INFOS, step_seconds=2)
    yield engine
    engine.close()


def pid_of(engine: object) -> int:
    assert isinstance(engine, SubprocessEngine) and engine._child is not None
    return engine._child.process.pid


def running(process: int) -> bool:
    return Path(f"/proc/{process}").exists() if Path("/proc").exists() else _signalled(process)


def _signalled(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_responds_as_the_engine_inside(story: Path, engine: SubprocessEngine) -> None:
    alone = StockEngine(story, INFOS)
    assert engine.game_info == alone.game_info
    assert engine.reset() == alone.reset()
    for command in ("xyzzy", *alone.game_info.walkthrough):
        assert engine.step(command) == alone.step(command)
    alone.close()


def test_a_hanging_command_is_one_error_and_the_next_episode_plays(engine: SubprocessEngine) -> None:
    opening = engine.reset()
    first = pid_of(engine)
    with pytest.raises(GameError, match=r"the game hangs \(no answer within 2 s\) at") as error:
        engine.step("\\help")
    assert "\n" not in str(error.value)
    assert not running(first)
    with pytest.raises(GameError, match="failed before; it can begin anew"):
        engine.step("look")
    assert engine.reset() == opening


def test_a_crashed_child_is_one_error_and_close_ends_a_child(engine: SubprocessEngine) -> None:
    opening = engine.reset()
    os.kill(pid_of(engine), signal.SIGKILL)
    with pytest.raises(GameError, match=r"crashed its interpreter \(SIGKILL\) at 'look'"):
        engine.step("look")
    assert engine.reset() == opening
    last = pid_of(engine)
    engine.close()
    engine.close()
    assert not running(last)


def test_a_story_that_makes_the_library_exit_is_one_error(story: Path) -> None:
    story.write_bytes(story.read_bytes()[:5000])
    with pytest.raises(GameError, match=r"tw-game.z8: .* while it is loaded") as error:
        SubprocessEngine(story)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"engine_name": "nothing"}, "KeyError"),
        ({"infos": [["inventory"]]}, "TypeError"),
        ({"engine_name": 0}, "KeyError"),
    ],
)
def test_an_exception_of_our_code_is_a_bug_and_no_crash(arguments: dict[str, Any], error: str, story: Path) -> None:
    with pytest.raises(RuntimeError, match=rf"has a bug while it is loaded\n[\s\S]*{error}"):
        SubprocessEngine(story, **arguments)


def test_loading_has_a_limit(story: Path) -> None:
    with pytest.raises(GameError, match=r"hangs \(no answer within 0.01 s\) while it is loaded"):
        SubprocessEngine(story, loading_seconds=0.01)


def test_a_child_ends_with_its_input_and_writes_nothing_in_the_working_folder(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    engine = SubprocessEngine(story, step_seconds=20)
    engine.reset()
    assert engine._child is not None
    process = engine._child.process
    engine.step("save")  # the filter would stop it
    engine.step("tw-game")
    assert not list((tmp_path / "here").iterdir())
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    engine.close()


def test_a_child_that_hangs_ends_with_a_killed_parent(story: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from games.textworld.engines.subprocess_engine import SubprocessEngine\n"
        f"engine = SubprocessEngine(Path({str(story)!r})); engine.reset()\n"
        "print(engine._child.process.pid, flush=True); engine.step('\\\\help')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1)  # it hangs by then
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_answer_without_end_is_one_error(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_engine, "MAX_ANSWER", 100)
    with pytest.raises(GameError, match="prints endlessly while it is loaded"):
        SubprocessEngine(story)


def test_files_of_others_are_played_in_a_child_process_and_ours_in_this_one(story: Path) -> None:
    ours, theirs = make_textworld(GAME), TextWorld(str(story))
    assert not isinstance(ours._engine, SubprocessEngine)
    assert isinstance(theirs._engine, SubprocessEngine)
    text, info = ours.reset(seed=0)
    assert theirs.reset(seed=0) == (text, info)
    theirs.close()


def test_a_file_whose_engine_failed_is_played_in_a_child_process_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "_FAILED", set())
    game = make_textworld(GAME)
    game.reset(seed=0)

    def fail(command: str) -> None:
        raise GameError("out of order")

    monkeypatch.setattr(game._engine, "step", fail)
    with pytest.raises(GameError, match="out of order"):
        game.step("look")
    again = make_textworld(GAME)
    assert isinstance(again._engine, SubprocessEngine)
    again.close()


@dataclass
class Spec:
    """A game file for the runner that stores the environments it made."""

    name: str
    made: list[TextWorld] = field(default_factory=list)

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> TextWorld:
        self.made.append(make_textworld(self.name, max_turns=max_turns, infos=infos))
        return self.made[-1]


class Accident(WalkthroughAgent):
    """Plays walkthroughs; the process of episode 0 is killed before its second command."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._spec, self.ended = spec, 0

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        if any(turn.episode == 0 and not turn.first for turn in turns):
            os.kill(pid_of(self._spec.made[0]._engine), signal.SIGKILL)
            time.sleep(0.1)
        return super().act(turns)

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        self.ended += len(endings)
        super().end(endings)


def test_the_runner_ends_the_episode_of_a_dead_process_and_continues_the_others(story: Path) -> None:
    theirs, ours = Spec(str(story)), Spec(GAME)
    agent = Accident(theirs)
    with EpisodeRunner([theirs, ours], seed=1, parallel=2) as runner:
        played = sorted(runner.play(agent, 4), key=lambda episode: episode.index)
    assert [episode.won for episode in played] == [False, True, True, True]
    assert "crashed its interpreter (SIGKILL)" in str(played[0].error)
    assert played[0].truncated and len(played[0].steps) == 2
    assert [episode.error for episode in played[1:]] == [None] * 3
    assert agent.ended == 4
