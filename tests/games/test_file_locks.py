"""Locks of files and folders, and what killed processes leave behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from games.errors import FilesError
from games.files import (
    TEMPORARY,
    atomic_folder,
    atomic_write,
    exclusive,
    file_lock,
    remove_leftovers,
)
from tests import ROOT
from tests.helpers.folders import file_names
from tests.helpers.processes import start_python

# -- locks -------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from games.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("ending", [subprocess.Popen.kill, subprocess.Popen.terminate])
def test_a_lock_is_free_when_its_process_is_killed(
    tmp_path: Path, ending: Callable[[subprocess.Popen[str]], None]
) -> None:
    with start_python(HOLD, tmp_path / "lock") as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError):
            file_lock(tmp_path / "lock").acquire(blocking=False)
        ending(holder)
        holder.wait(60)
    with file_lock(tmp_path / "lock").acquire(timeout=10):
        pass


def test_a_child_does_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    code = """
    import os, sys, time
    from pathlib import Path
    from games.files import file_lock
    lock = file_lock(Path(sys.argv[1]), process_wide=True)
    lock.acquire()
    child = os.fork()
    if child:
        print(child, flush=True)
        time.sleep(60)
    else:
        os.close(1)
        time.sleep(60)
    """
    with start_python(code, tmp_path / "lock") as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait(60)
    try:
        with file_lock(tmp_path / "lock").acquire(timeout=10):
            os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_waiting_lock_is_granted_after_release(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with file_lock(tmp_path / "lock"):
            order.append("second")

    with file_lock(tmp_path / "lock"):
        thread = Thread(target=wait)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_a_process_wide_lock_is_held_once_by_all_objects_of_the_process(tmp_path: Path) -> None:
    one, other = (
        file_lock(folder / "lock", process_wide=True) for folder in (tmp_path, tmp_path / ".." / tmp_path.name)
    )
    one.acquire(blocking=False)
    other.acquire(blocking=False)
    with start_python(HOLD, tmp_path / "lock") as waiting:
        one.release(force=True)
        assert waiting.stdout is not None and waiting.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError):
            other.acquire(blocking=False)
        waiting.kill()


# -- what a command writes ---------------------------------------------------------------------------------

WRITE = """
import sys
from pathlib import Path
from games.files import exclusive
with exclusive(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("files", [[], ["card.md", "card.json"]])
def test_one_process_at_a_time_writes_a_folder_or_a_file(tmp_path: Path, files: list[str]) -> None:
    with start_python(WRITE, tmp_path / "new", *files) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FilesError, match=r"another process is writing .*; wait for it"),
            exclusive(tmp_path / "new", *files),
        ):
            pass
        holder.kill()
    with exclusive(tmp_path / "new", *files), exclusive(tmp_path / "new", *files, wait=True):
        assert len(file_names(tmp_path / "new")) == 1
    assert file_names(tmp_path / "new") == []


def test_leftovers_are_removed_when_their_lock_is_acquired(tmp_path: Path) -> None:
    leave_behind = """
    import os, signal, sys
    from pathlib import Path
    from games.files import atomic_folder, atomic_write, exclusive
    out = Path(sys.argv[1])
    with exclusive(out):
        atomic_write(out / "kept", "text")
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        with atomic_folder(out / "new") as work:
            (work / "file").touch()
    """
    with start_python(leave_behind, tmp_path) as process:
        process.wait(60)
    (tmp_path / ".cache-1-user's").touch()
    assert len(file_names(tmp_path)) == 4
    with exclusive(tmp_path, "other"):
        assert len(file_names(tmp_path)) == 5, "leftovers of other files are not its own"
    with exclusive(tmp_path):
        assert file_names(tmp_path) == [".cache-1-user's", ".lock", "kept"]


def test_a_folder_whose_replacement_was_killed_is_restored(tmp_path: Path) -> None:
    for name in (".x-12-01234567", ".x-12-01234567.old", ".y-12-01234567.old", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name.strip(".")).touch()
    remove_leftovers(tmp_path)
    assert file_names(tmp_path) == ["x", "y"]
    assert file_names(tmp_path / "x") == ["x-12-01234567.old"] and file_names(tmp_path / "y") == ["y"]


def test_files_and_folders_reach_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    rename = Path.rename

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        log.append(TEMPORARY.sub(r"\g<name>.new", str(path.relative_to(tmp_path.parent))))

    def renamed(self: Path, target: Path) -> Path:
        log.append("rename")
        return rename(self, target)

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, renamed)
    monkeypatch.setattr(os, "fsync", note)
    atomic_write(tmp_path / "file", "text")
    with atomic_folder(tmp_path / "folder") as work:
        (work / "inner").touch()
    here = tmp_path.name
    assert log == [f"{here}/file.new", "rename", here, f"{here}/folder.new/inner", f"{here}/folder.new", "rename", here]


def test_a_forked_process_has_its_own_scratch_folder_and_removes_no_other() -> None:
    code = """
import os, sys
from games.files import scratch_folder
own = scratch_folder()
if not os.fork():
    print(scratch_folder().is_dir() and scratch_folder() != own, flush=True)
    sys.exit()
os.wait()
print(own.is_dir(), own)
"""
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert shown[:2] == ["True", "True"]
    assert not Path(shown[2]).exists()


@pytest.mark.parametrize(
    "next_start",
    [
        "from games.files import scratch_folder; scratch_folder()",
        "import pathlib, sys, games.files\nwith games.files.exclusive(pathlib.Path(sys.argv[1])): pass",
    ],
)
def test_scratch_folders_of_killed_processes_are_removed(
    next_start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    import sys
    from games.files import scratch_folder
    (scratch_folder() / "file").touch()
    print(scratch_folder(), flush=True)
    sys.stdin.read()
    """
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running, killed, ended = (start_python(code) for _ in range(3))
    folders = []
    for process in (running, killed, ended):
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    killed.kill()
    ended.communicate("")
    killed.communicate()
    assert [folder.is_dir() for folder in folders] == [True, True, False]
    start_python(next_start, tmp_path / "out").communicate("")
    assert file_names(tmp_path) == sorted([folders[0].name, f"{folders[0].name}.lock"])
    running.communicate("")
    assert file_names(tmp_path) == []
