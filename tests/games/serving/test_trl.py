"""`ToolEnvironment` has the interface that TRL's GRPO reads from an environment."""

from __future__ import annotations

import inspect
from pathlib import Path

import psutil
import pytest
from transformers.utils import get_json_schema

from games import resolve
from games.serving.trl import ToolEnvironment

GAME = "textworld:simple?level=1&seed=1..2"


def test_only_tool_is_play_and_it_has_a_schema() -> None:
    public = {name for name, _ in inspect.getmembers(ToolEnvironment, inspect.isfunction) if name[0] != "_"}
    assert public == {"reset", "play", "get_reward"}
    schema = get_json_schema(ToolEnvironment(GAME).play)["function"]
    assert schema["name"] == "play"
    assert schema["parameters"]["required"] == ["command"]


def test_rollouts_of_a_row_play_the_same_game_and_sum_its_rewards() -> None:
    first, second = ToolEnvironment(GAME), ToolEnvironment(GAME)
    assert first.reset(seed=1, prompt="x") == second.reset(seed=1, prompt="x") != first.reset(seed=2)
    env = ToolEnvironment(GAME)
    env.reset(seed=0)
    for command in resolve(GAME)[0].make().reset()[1]["extra.walkthrough"]:
        text = env.play(command)
    assert text.endswith("The game is over.")
    assert env.get_reward() > 0
    assert env.play("look") == "The game is over."


@pytest.mark.slow
def test_unfinished_games_of_a_suite_share_one_java_process() -> None:
    def processes() -> int:
        return sum("py4j.GatewayServer" in child.cmdline() for child in psutil.Process().children())

    before = processes()
    env = ToolEnvironment("scienceworld:find-animal?seed=0..2&simplify=easy")
    openings = {env.reset(seed=seed) for seed in range(3)}
    assert len(openings) == 3
    assert processes() <= before + 1


def test_an_environment_that_is_closed_is_not_reset(tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text(
        "import gymnasium\n"
        "class Once(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(100)\n"
        "    closed = False\n"
        "    def reset(self, seed=None, options=None):\n"
        "        assert not self.closed\n"
        "        return 'Which?', {'admissible_commands': ['a', 'b']}\n"
        "    def step(self, command):\n"
        "        if command == 'fail': raise OSError('no such device')\n"
        "        return 'Done', 1.0, True, False, {'admissible_commands': []}\n"
        "    def close(self):\n"
        "        self.closed = True\n"
    )
    env = ToolEnvironment(f"{tmp_path / 'once.py'}:Once?seed=0..1")
    for seed, command, reward in ((0, "a", 1), (0, "fail", 0), (0, "a", 1), (1, "a", 1), (0, "a", 1)):
        assert env.reset(seed=seed).startswith("Which?")
        env.play(command)
        assert env.get_reward() == reward
