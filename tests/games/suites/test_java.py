"""The Java virtual machines of suites: they load nothing from the user's folder, and they end with this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import games
from games.suites.express import Express
from tests import ROOT

GAME = "express:coin?seed=3"
START = f"import games, time; env = games.resolve({GAME!r})[0].make().unwrapped; env.reset(); "


def python(code: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, env=environment, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_jvm_ends_with_our_process(number: int) -> None:
    with python(START + "print(env._jvm.process.pid, flush=True); time.sleep(600)") as child:
        assert child.stdout is not None
        jvm = psutil.Process(int(child.stdout.readline()))
        assert "py4j.GatewayServer" in jvm.cmdline()
        child.send_signal(number)
        child.communicate()
    jvm.wait(10)


def test_jvm_ends_silently_at_exit() -> None:
    with python(START + "print(env._jvm.process.pid)") as child:
        out, err = child.communicate(timeout=60)
    assert not psutil.pid_exists(int(out))
    assert err == ""


def test_jvm_loads_nothing_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("py4j0.10.9.9.jar", "textworld-express.jar", "py4j/GatewayServer.class", ".hotspotrc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not for Java")
    with python(START + "print(env.step('look around')[0])", cwd=tmp_path) as child:
        out, err = child.communicate(timeout=60)
    assert out.startswith("You are in the kitchen.")
    assert err == ""
    assert len(list(tmp_path.iterdir())) == 4, "it writes nothing there"


def test_dead_jvm_ends_the_episode_in_one_line_and_the_next_reset_starts_another(
    capfd: pytest.CaptureFixture[str],
) -> None:
    env = games.resolve(GAME)[0].make().unwrapped
    assert isinstance(env, Express)
    opening, _ = env.reset()
    first = env._jvm
    first.process.kill()
    first.process.wait()
    with pytest.raises(games.GameError, match="the Java process of the game has ended") as error:
        env.step("look around")
    assert "\n" not in str(error.value)
    assert env.reset()[0] == opening
    assert env._jvm is not first
    assert capfd.readouterr().err == ""


def test_interrupt_does_not_reach_the_jvm() -> None:
    code = START + "print(env._jvm.process.pid, flush=True)\ntry: time.sleep(600)\nexcept KeyboardInterrupt: pass\n"
    with python(code + "print(env.step('look around')[0])", process_group=0) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert out.startswith("You are in the kitchen.")
    assert err == ""
