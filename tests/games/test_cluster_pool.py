"""The pool of a Ray cluster: what it refuses, its tasks, lost nodes, Ctrl-C, the user's files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from games.cluster_pool import LOCAL, RETRIES, ClusterPool, _run_in_folder, open_pool
from games.errors import GameError
from games.worker_pool import WorkerPool
from tests import ROOT
from tests.games.test_worker_pool import PLANTED, plant, wait_for
from tests.helpers.clusters import two_nodes
from tests.helpers.pool_jobs import noted, origin, power

COMPARE = ("compare", "--game", "bandit", "--optimizers", "ppo,actde", "--episodes", "8", "--evaluations", "4")
TIMES = {"seconds", "command", "peak_memory"}


def start(
    *words: str | Path, cwd: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    """A command with one thread, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *map(str, words)],
        cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a command that must succeed. Return its standard output and standard error."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out, err


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(inner) for name, inner in value.items() if name not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def results(folder: Path) -> Any:
    return without_times(json.loads((folder / "results.json").read_text()))


def in_session(leader: int) -> list[str]:
    """The commands of the running processes in the session of a process."""
    listed = subprocess.run(["ps", "-eo", "sid,stat,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [row[2] for row in rows if row[0] == str(leader) and not row[1].startswith("Z")]


def test_without_a_cluster_the_pool_has_processes_of_this_machine(tmp_path: Path) -> None:
    with open_pool(2, None, tmp_path) as pool:
        assert isinstance(pool, WorkerPool) and pool.size == 2 and not pool.restarts


def test_workers_and_a_cluster_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(GameError, match=r"--workers .* --cluster .*: give one"):
        open_pool(2, LOCAL, tmp_path)


def test_a_missing_ray_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GameError, match=r"\A--cluster needs the package ray: pip install -e '.\[cluster\]'\Z"):
        ClusterPool("10.0.0.1:6379", tmp_path)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "", "head:", "head:x"])
def test_another_form_of_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(GameError, match=rf"\A--cluster {address}: expected HOST:PORT"):
        ClusterPool(address, tmp_path)


def fake_ray(monkeypatch: pytest.MonkeyPatch, **names: Any) -> Any:
    """Replace Ray by a module with these names, and with the base class of Ray's errors."""
    monkeypatch.setenv("RAY_task_oom_retries", "1")  # restored after the test
    ray: Any = ModuleType("ray")
    vars(ray).update(names, exceptions=SimpleNamespace(RayError=type("RayError", (Exception,), {})))
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_an_address_without_ray_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ray(monkeypatch)
    with pytest.raises(GameError, match=r"\A--cluster 127.0.0.1:1: .*refused\Z"):
        ClusterPool("127.0.0.1:1", tmp_path)


def test_a_missing_token_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise ray.exceptions.RayError("no authentication token\nwas found")

    ray = fake_ray(monkeypatch, init=init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(GameError, match=rf"\A--cluster {address}: no authentication token was found\Z"):
            ClusterPool(address, tmp_path)


@pytest.mark.parametrize(("given", "expected"), [(None, RETRIES), ("3", 3)])
def test_tasks_that_run_out_of_memory_are_repeated_a_limited_number_of_times(
    given: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "RAY_task_oom_retries"
    fake_ray(monkeypatch)
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    with pytest.raises(GameError, match="refused"):
        ClusterPool("127.0.0.1:1", tmp_path)
    assert os.environ[name] == str(expected)


def test_a_task_runs_in_the_folder_of_the_command_and_returns_its_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("games.worker_pool._send", None)
    (mark := tmp_path / "mark").touch()
    (here := tmp_path / "here").mkdir()
    assert _run_in_folder((noted.__module__, "noted", ("slow",), {}), here, mark) == (["slow\n"], True, "slow")
    assert Path.cwd() == here


@pytest.mark.parametrize("missing", ["here", "mark"])
def test_a_machine_without_the_files_is_one_line(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("games.worker_pool._send", None)
    (mark := tmp_path / "mark").touch()
    (here := tmp_path / "here").mkdir()
    {"here": here.rmdir, "mark": mark.unlink}[missing]()
    _, succeeded, error = _run_in_folder((power.__module__, "power", (2,), {}), here, mark)
    place = tmp_path / "here" if missing == "here" else tmp_path
    assert not succeeded
    assert f"does not have the files of {place}: --cluster needs" in str(error) and "\n" not in str(error)


@pytest.mark.slow
def test_a_local_ray_runs_jobs_on_the_loopback_address_without_files_of_the_user(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here = plant(tmp_path / "here", *PLANTED, "ray")
    script = (
        "import subprocess, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "import psutil\n"
        "from games.cluster_pool import ClusterPool\n"
        "from games.errors import GameError\n"
        "from tests.helpers.pool_jobs import fail, import_path, noted, origin, power\n"
        "with ClusterPool('local', Path.cwd()) as pool:\n"
        "    print([job.result() for job in [pool.submit(power, base, exponent=3) for base in range(5)]])\n"
        "    print(pool.submit(origin, 'random').result())\n"
        "    print(str(Path.cwd()) in pool.submit(import_path).result())\n"
        "    pool.submit(noted, 'slow').result()\n"
        "    for error in GameError('no such game'), KeyError('bug'):\n"
        "        try: pool.submit(fail, error).result()\n"
        "        except Exception as caught: print(type(caught).__name__, caught)\n"
        "    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]\n"
        "    listening = [c.laddr.ip for p in ours for c in p.net_connections('inet') if c.status == 'LISTEN']\n"
        "    print(len(listening) > 2, set(listening) <= {'127.0.0.1', '::ffff:127.0.0.1', '::1'})\n"
        "print([process.name() for process in psutil.Process().children(recursive=True)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=here, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[0, 1, 8, 27, 64]", origin("random"), "False", "GameError no such game",
        "BrokenExecutor a worker process died in fail (KeyError); "
        "finished work is kept, and the same command continues",
        "True True", "[]",
    ]  # fmt: skip
    assert "slow\n" in done.stderr and "KeyError: 'bug'" in done.stderr
    assert {file.suffix for file in here.iterdir()} == {".py"}  # nothing was executed, nothing is left


@pytest.mark.slow
def test_a_killed_node_changes_only_the_time_of_a_comparison(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    compare = (*COMPARE, "--seeds", "0-3", "--iterations", "30", "--save-every", "5", "--threads", "1")
    finish(start(*compare, "--out", tmp_path / "here", "--workers", "2", cwd=tmp_path))
    with two_nodes() as cluster:
        logs, place = tmp_path / "there" / "runs", ("--out", tmp_path / "there", "--cluster", cluster.address)
        process = start(*compare, *place, cwd=tmp_path, environment=cluster.environment)

        def both_train() -> bool:
            assert process.poll() is None, process.communicate()
            lines = [log.read_bytes().count(b"\n") for log in logs.glob("*/metrics.jsonl")]
            return sum(6 <= count < 25 for count in lines) == 2

        wait_for(both_train, 300)
        cluster.kill_the_second_node()
        out, err = finish(process)
    assert len(results(tmp_path / "here")["runs"]) == 8
    assert results(tmp_path / "there") == results(tmp_path / "here")
    assert "raylet" not in out + err
    assert [path.name for path in logs.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out"
    process = start(*COMPARE, "--seeds", "0", "--iterations", "9999", "--out", out, "--cluster", LOCAL, cwd=tmp_path)
    wait_for(lambda: process.poll() is not None or list(out.glob("runs/*/metrics.jsonl")), 300)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # as a terminal does
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert time.monotonic() - began < 30
    assert "Traceback" not in err and "***" not in err
    wait_for(lambda: not in_session(process.pid), 10)


@pytest.mark.slow
def test_generate_and_the_card_give_the_same_on_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    for name, place in ("here", ()), ("there", ("--cluster", LOCAL)):
        games = ("generate", tmp_path / name, "--family", "coin", "--per-level", "3")
        finish(start(*games, *(place or ("--workers", "1")), cwd=tmp_path))
        card = ("evaluate", "--card", "--agent", "random", "--tasks", "coin", "--episodes", "2")
        finish(start(*card, "--out", tmp_path / f"{name}.md", *place, cwd=tmp_path))
    manifests = [(tmp_path / name / "manifest.jsonl").read_text() for name in ("here", "there")]
    assert manifests[0] == manifests[1] and manifests[0].count("\n") == 3
    cards = [without_times(json.loads((tmp_path / f"{name}.json").read_text())) for name in ("here", "there")]
    assert cards[0] == cards[1] and cards[0]["rows"]


@pytest.mark.slow
def test_trials_of_reproduce_on_a_cluster_are_those_of_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from experiments.reproduce.ipd_trials.run_trials import Arm, jobs_of, run\n"
        "from experiments.reproduce.ipd_trials.trial import Recipe\n"
        "jobs = jobs_of(Arm(name='arm', recipe=Recipe(), trials=6, steps=8), 3)\n"
        "for name, place in ('here', {'workers': 1}), ('there', {'cluster': 'local'}):\n"
        "    run(jobs, Path.cwd() / name, **place, on_progress=lambda name, done, total: print(done, total))\n"
    )
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2 4", "4 4"] * 2
    paths = sorted(tmp_path.glob("here/arm/*/checkpoint.safetensors"))
    assert len(paths) == 2
    for path in paths:
        here, there = (load_file(tmp_path / name / path.relative_to(tmp_path / "here")) for name in ("here", "there"))
        assert here.keys() == there.keys()
        assert all(here[name].equal(there[name]) for name in here if name != "seconds")
