"""The pool of worker processes: results, errors, Ctrl-C, workers and parents that are killed, the user's files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing import Pipe
from pathlib import Path

import pytest

from agents import AgentError
from games import GameError, child_process, worker_pool
from games.child_process import python_environment
from games.textworld.env import TextWorld
from games.textworld.generation.make_game import cached_game
from games.worker_pool import WorkerPool
from tests import ROOT
from tests.helpers.pool_jobs import fail, import_path, note_process, noted, origin, power

PLANTED = ("json", "random", "sitecustomize", "usercustomize", "socket", "tempfile", "threading", "games", "numpy")


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def busy_workers(folder: Path, count: int = 2) -> list[int]:
    wait_for(lambda: len(list(folder.iterdir())) == count)
    return [int(file.name) for file in folder.iterdir()]


def start_script(folder: Path) -> subprocess.Popen[str]:
    """A process with two busy workers, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.pool_jobs", str(folder)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def plant(folder: Path, *names: str) -> Path:
    """Files called like modules, which leave a mark when they are executed."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'a').write({name!r})\n")
    return folder


def test_the_parent_prints_the_notes_of_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(1) as pool:
        assert pool.submit(noted, "slow").result() == "slow"
    noted("here")
    assert capsys.readouterr().err == "slow\nhere\n"


def test_jobs_return_what_the_function_returns() -> None:
    with WorkerPool(2) as pool:
        jobs = [pool.submit(power, base, exponent=3) for base in range(5)]
        assert [job.result() for job in jobs] == [0, 1, 8, 27, 64]


def test_a_users_mistake_keeps_its_class_and_message_and_the_worker_lives(tmp_path: Path) -> None:
    errors: list[Exception] = [GameError("no such game"), AgentError("no such agent")]
    errors.append(OSError(errno.ENOSPC, "No space left", "runs"))
    with WorkerPool(1) as pool:
        worker = pool.submit(note_process, tmp_path, 0).result()
        for error in errors:
            with pytest.raises(type(error)) as caught:
                pool.submit(fail, error).result()
            assert type(caught.value) is type(error) and str(caught.value) == str(error)
            assert "pool_jobs.py" in caught.value.__notes__[0]  # where it was raised
        assert pool.submit(note_process, tmp_path, 0).result() == worker


def test_a_bug_in_a_job_shows_its_traceback_and_ends_the_pool(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(BrokenExecutor, match=r"a worker process died in fail \(exit status 1\)"):
            pool.submit(fail, KeyError("bug")).result()
        with pytest.raises(BrokenExecutor):
            pool.submit(power, 2).result()
    assert "KeyError: 'bug'" in capfd.readouterr().err


def test_a_limit_of_processes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    message = r"\Ano child process can be started: .* too many processes"
    with pytest.raises(BrokenExecutor, match=message), WorkerPool(2) as pool:
        pool.submit(power, 2, exponent=3).result()


def test_a_killed_worker_is_one_line_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with WorkerPool(2) as pool:
        jobs = [pool.submit(note_process, tmp_path) for _ in range(4)]
        workers = busy_workers(tmp_path)
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: any(job.done() for job in jobs))
        (broken,) = (job for job in jobs[:2] if job.done())
        with pytest.raises(BrokenExecutor, match=r"died in note_process \(SIGKILL\); .* continues") as error:
            broken.result()
    assert "\n" not in str(error.value)
    assert not any(map(runs, workers))
    assert time.monotonic() - began < 30


def test_a_worker_that_the_kernel_killed_for_its_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 6\n")
    monkeypatch.setattr(child_process, "VMSTAT", tmp_path / "vmstat")
    (tmp_path / "busy").mkdir()
    with WorkerPool(1) as pool:
        job = pool.submit(note_process, tmp_path / "busy")
        (worker,) = busy_workers(tmp_path / "busy", 1)
        (tmp_path / "vmstat").write_text("oom_kill 7\n")
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(
            BrokenExecutor, match=r"died .* \(SIGKILL; the kernel killed .* memory .* continues"
        ) as error:
            job.result()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: 9 bytes")])
def test_a_worker_without_memory_is_one_line(error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(BrokenExecutor, match=r"ran out of memory in fail; use fewer workers; .* continues$"):
            pool.submit(fail, error).result()
        assert pool.submit(power, 2).result() == 4
    assert capfd.readouterr().err == ""


def test_leaving_the_pool_ends_busy_workers_and_drops_waiting_jobs(tmp_path: Path) -> None:
    with WorkerPool(2) as pool:
        jobs = [pool.submit(note_process, tmp_path) for _ in range(6)]
        workers = busy_workers(tmp_path)
    assert not any(map(runs, workers))
    assert [job.cancelled() for job in jobs] == [False] * 2 + [True] * 4


def test_ctrl_c_ends_the_parent_and_its_workers_at_once(tmp_path: Path) -> None:
    parent = start_script(tmp_path)
    workers = busy_workers(tmp_path)
    began = time.monotonic()
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    _, text = parent.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert text.count("Traceback") == 1  # the parent's own
    assert text.rstrip().endswith("KeyboardInterrupt")
    assert not any(map(runs, workers))


def test_a_worker_without_a_parent_ends_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_send", None)
    ours, theirs = Pipe()
    with theirs:
        ours.send((power.__module__, power.__name__, (2,), {}))
        ours.close()
        worker_pool.serve(theirs)


def test_an_unexpected_end_of_a_file_in_a_job_is_no_lost_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_send", None)
    ours, theirs = Pipe()
    with ours, theirs:
        ours.send((fail.__module__, fail.__name__, (EOFError(),), {}))
        with pytest.raises(EOFError):
            worker_pool.serve(theirs)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    parent = start_script(tmp_path)
    workers = busy_workers(tmp_path)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not any(map(runs, workers)), 10)


def test_workers_import_nothing_from_the_folders_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = plant(tmp_path / "here", *PLANTED)
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.path", ["", *sys.path, str(here)])
    with WorkerPool(1) as pool:
        assert str(here) not in pool.submit(import_path).result()
        assert pool.submit(origin, "random").result() == sys.modules["random"].__file__
    assert not (here / "executed").exists()


def test_a_script_is_not_run_again_and_its_folder_is_not_imported(tmp_path: Path) -> None:
    here, scripts = plant(tmp_path / "here", *PLANTED), plant(tmp_path / "scripts", "colorsys")
    (scripts / "script.py").write_text(
        "from games.worker_pool import WorkerPool\n"
        "from tests.helpers.pool_jobs import origin\n"
        "with WorkerPool(2) as pool:\n"
        "    print(*{job.result() for job in [pool.submit(origin, 'colorsys') for _ in range(2)]})\n"
    )
    command, environment = [sys.executable, str(scripts / "script.py")], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=True, timeout=120)
    (file,) = done.stdout.split()
    assert Path(file).parent == Path(json.__file__).parents[1]
    assert not (here / "executed").exists() and not (scripts / "executed").exists()


@pytest.mark.slow
def test_generate_runs_no_file_of_the_current_folder(tmp_path: Path) -> None:
    here = plant(tmp_path / "here", *PLANTED)
    command = [sys.executable, str(ROOT / "cli.py"), "generate", str(tmp_path / "games"), "--family", "coin"]
    done = subprocess.run(
        [*command, "--per-level", "1", "--workers", "2"], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [file.name for file in here.iterdir() if file.suffix != ".py"] == []


def test_a_foreign_game_is_examined_and_played_without_files_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = plant(tmp_path / "here", *PLANTED)
    made = cached_game("coin", {"level": 4, "seed": 1})
    shutil.copy(made, here / "tw-game.z8")
    record = json.loads(made.with_suffix(".json").read_text())
    del record["metadata"]["actde"]
    (here / "tw-game.json").write_text(json.dumps(record))
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path / "cache"))  # where it has not been examined
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.path", ["", *sys.path])
    game = TextWorld("tw-game.z8")
    game.reset(seed=0)
    game.close()
    assert not (here / "executed").exists()


def test_the_folder_of_our_packages_is_importable_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert str(ROOT) in python_environment()["PYTHONPATH"].split(os.pathsep)
