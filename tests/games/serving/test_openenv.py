"""OpenEnv's own client plays our games through the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvicorn
from gymnasium.error import ResetNeeded
from openenv.core import GenericEnvClient

from games import resolve
from games.serving.openenv import ServedGame, TextAction, make_app

GAME = "textworld:simple?level=1&seed=1..2 + bandit"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(make_app(GAME, sessions=8), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def play(address: str, seed: int) -> list[tuple[str, float | None, bool]]:
    with GenericEnvClient(base_url=address).sync() as client:
        result = client.reset(seed=seed)
        record = [(result.observation["text"], result.reward, result.done)]
        while not result.done and len(record) < 10:
            result = client.step({"command": result.observation["admissible_commands"][0]})
            record.append((result.observation["text"], result.reward, result.done))
        assert client.state()["step_count"] == len(record) - 1
    return record


def test_concurrent_sessions_play_what_the_games_play(address: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        records = list(pool.map(lambda seed: play(address, seed), range(6)))
    for seed, record in enumerate(records):
        env = resolve(GAME)[seed % 3].make()
        text, info = env.reset(seed=seed)
        expected: list[tuple[str, float | None, bool]] = [(text, None, False)]
        while info["admissible_commands"] and len(expected) < 10:
            text, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])
            expected.append((text, float(reward), terminated or truncated))
        assert record == expected


def test_step_before_reset_is_an_error_of_one_line(address: str) -> None:
    with GenericEnvClient(base_url=address).sync() as client, pytest.raises(RuntimeError, match="call reset first"):
        client.step({"command": "look"})


def test_steps_after_the_end_are_refused_until_the_next_reset(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import gymnasium\n"
        "class Endless(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return 'Begin.', {}\n"
        "    def step(self, action):\n"
        "        return 'More.', 1.0, action == 'end', False, {}\n"
    )
    for game, command in ((f"{tmp_path}/endless.py:Endless", "end"), ("bandit", " party"), ("completion", "x")):
        served = ServedGame(resolve(game))
        for _ in range(2):
            served.reset(seed=0)
            assert served.step(TextAction(command=command)).done
            steps = served.state.step_count
            with pytest.raises(ResetNeeded, match="call reset"):
                served.step(TextAction(command=command))
            assert served.state.step_count == steps
