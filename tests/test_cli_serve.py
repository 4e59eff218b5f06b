"""`serve` as a process: OpenEnv's own client plays, a signal stops it, and errors are one line."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack

import pytest
from openenv.core import GenericEnvClient

from games import resolve
from tests.helpers.servers import serve, server

GAME = "textworld:simple?level=1&seed=1..2"


def session(stack: ExitStack, address: str) -> GenericEnvClient:
    client = GenericEnvClient(base_url=address, connect_timeout_s=60, message_timeout_s=300)
    return stack.enter_context(client.sync())


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_the_server_while_sessions_are_open(number: int) -> None:
    walkthroughs = [spec.make().reset()[1]["extra.walkthrough"] for spec in resolve(GAME)]
    with server(GAME, "--sessions", "3", "--max-turns", "30") as (process, address), ExitStack() as stack:
        clients = [session(stack, address) for _ in range(3)]
        results = [client.reset(seed=seed) for seed, client in enumerate(clients)]
        for turn in range(max(map(len, walkthroughs))):  # the sessions take turns
            for index, client in enumerate(clients):
                commands = walkthroughs[index % 2]
                if turn < len(commands):
                    results[index] = client.step({"command": commands[turn]})
        assert all(result.done and result.observation["info"]["won"] for result in results)
        with pytest.raises(RuntimeError, match=r"at capacity: 3/3 sessions") as error:
            session(stack, address).reset()
        assert "\n" not in str(error.value)
        clients[0].reset(seed=0)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (0, "", "")


def test_wrong_messages_are_errors_of_one_line_and_the_session_goes_on() -> None:
    with server("ipd") as (process, address), ExitStack() as stack:
        client = session(stack, address)
        for seed in (-1, "three", 2.5, True):
            with pytest.raises(RuntimeError, match="seed: expected a whole number from 0, got") as error:
                client.reset(seed=seed)
            assert "\n" not in str(error.value)
        client.reset(seed=1)
        for action in ({"comand": "look"}, {"command": 3}, {}):
            with pytest.raises(RuntimeError, match="Invalid message") as error:
                client.step(action)
            assert "\n" not in str(error.value)
        assert client.step({"command": "look"}).observation["info"]["moves"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=300) == ("", "")


def test_errors_at_the_start_are_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, expected in [
            (["--game", "bandit", "--port", port], f"cannot listen on 127.0.0.1, port {port}: Address already in use;"),
            (["--game", "bandit", "--host", "300.1.1.1"], "cannot listen on 300.1.1.1, port 8000: "),
            (["--game", "bandt"], "no game is called 'bandt'; did you mean 'bandit'?"),
        ]:
            with serve(*words) as process:
                out, err = process.communicate(timeout=300)
            assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
            assert err.startswith(f"error: {expected}")
