"""Games of `GameMaker` without a walkthrough, and with an infinite maximum score, load and play.

Their errors, too, distinguish a bug of the check, a dead interpreter and a damaged file.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents.play.baselines import WalkthroughAgent
from agents.play.evaluate import evaluate
from agents.protocol import AgentError
from games import GameError, resolve
from games.textworld.engines.subprocess_engine import SubprocessEngine
from games.textworld.env import TextWorld
from tests.helpers.unusual_games import REPEATABLE, compile_game

WITHOUT_WALKTHROUGH = ("names: hyphens", "no quests", "many ways to lose")
BROKEN = "import games.textworld.validation.playthrough_check as broken; del broken._normalize; "


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WITHOUT_WALKTHROUGH, *REPEATABLE])
def test_it_plays_and_its_faults_are_told_apart(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path / "cache"))
    story = compile_game(name, tmp_path)
    check_bug(story, monkeypatch)
    env = TextWorld(story)
    text, info = env.reset()
    assert text and info["admissible_commands"] and info["extra.walkthrough"] == []
    assert info["max_score"] == {"names: hyphens": 3, "no quests": 0, "many ways to lose": 1}.get(name, 0)
    if name in REPEATABLE:
        env.step("go north")
        rewards = [env.step("take old coin")[1], env.step("look")[1]]
        assert rewards[0] == rewards[1] > 0
    with pytest.raises(AgentError, match="has no walkthrough, so the walkthrough agent cannot play it"):
        evaluate(WalkthroughAgent(), resolve(str(story)), game=str(story), episodes=1, seed=1)
    kill_interpreter(env)
    env.close()
    damage(story)


def check_bug(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the check raises an error with its traceback."""
    run = subprocess.run

    def with_bug(command: list[str], **options: Any) -> Any:
        return run([*command[:2], BROKEN + command[2], *command[3:]], **options)

    with monkeypatch.context() as broken:
        broken.setattr("subprocess.run", with_bug)
        with pytest.raises(RuntimeError, match=r"bug\n[\s\S]*NameError"):
            TextWorld(story)


def kill_interpreter(env: TextWorld) -> None:
    """A dead interpreter raises one line, and the next episode plays."""
    assert isinstance(env._engine, SubprocessEngine) and env._engine._child is not None
    os.kill(env._engine._child.process.pid, signal.SIGKILL)
    with pytest.raises(GameError, match=r"crashed its interpreter \(SIGKILL\) at 'look'$"):
        env.step("look")
    assert env.reset()[0]


def damage(story: Path) -> None:
    """A damaged story and a changed record raise one line each."""
    data, record = story.read_bytes(), story.with_suffix(".json").read_text()
    story.write_bytes(data[:100_000])
    with pytest.raises(GameError, match=r"truncated \(100000 of \d+ bytes\)$"):
        TextWorld(story)
    story.write_bytes(data)
    story.with_suffix(".json").write_text(record.replace("$at(P, r) & ", "$it(P, r) & ", 1))
    with pytest.raises(GameError, match="its rules are not those of TextWorld") as error:
        TextWorld(story)
    assert "\n" not in str(error.value)
