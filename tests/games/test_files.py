"""Files and folders are complete or absent, and one process at a time builds them."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from agents import AgentError
from agents.text.preferences import read_preferences
from games.completion.prompts import load_prompts
from games.errors import FilesError, GameError, naming
from games.files import (
    MANIFEST,
    TEMPORARY,
    atomic_folder,
    atomic_write,
    build_from,
    cache_folder,
    disk_errors,
    exclusive,
    file_lock,
    is_built_from,
    remove_leftovers,
    sha256,
)
from tests import ROOT

ORIGIN = {"file": "a", "sha256": "0"}
FULL = OSError(28, "No space left on device")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs the code; it prints to a pipe and waits for its standard input where it reads it."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- errors of the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space"), Exception("No space left on device (os error 28)")])
def test_an_error_that_names_no_file_gets_a_name(error: Exception) -> None:
    with pytest.raises(OSError) as named, naming(Path("run/x")):  # noqa: PT011
        raise error
    assert (named.value.errno, named.value.filename) == (28, "run/x")


def test_other_errors_stay_as_they_are() -> None:
    quoting = GameError("cannot read y: No such file or directory (os error 2)")
    for error in (OSError(28, "No space", "y"), OSError("no number"), KeyError("x"), quoting):
        with pytest.raises(type(error)) as raised, naming(Path("run/x")):
            raise error
        assert raised.value is error and getattr(error, "filename", None) != "run/x"


# -- atomic writes -----------------------------------------------------------------------------------------


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "né", b"\x00new"):
        atomic_write(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("failure", [FULL, KeyboardInterrupt()])
def test_an_interrupted_write_keeps_the_old_file(
    tmp_path: Path, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic_write(tmp_path / "x", "old")

    def fail(descriptor: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        atomic_write(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_files_and_folders_get_the_permissions_of_the_users_mask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", "text")
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder")] == [0o640, 0o750]


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_complete(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "deep" / "x").mkdir(parents=True)
        (tmp_path / "deep" / "x" / "old").touch()
    with atomic_folder(tmp_path / "deep" / "x") as work:
        (work / "new").touch()
        assert not (tmp_path / "deep" / "x" / "new").exists()
    assert names(tmp_path / "deep") == ["x"]
    assert names(tmp_path / "deep" / "x") == ["new"]


@pytest.mark.parametrize("failure", [FULL, KeyboardInterrupt()])
def test_an_interrupted_folder_keeps_the_old_one(tmp_path: Path, failure: BaseException) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()

    def fill() -> None:
        with atomic_folder(tmp_path / "x") as work:
            (work / "new").touch()
            raise failure

    with pytest.raises(type(failure)):
        fill()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["old"]


def test_a_folder_that_cannot_be_renamed_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == tmp_path / "x" and not self.name.endswith(".old"):
            raise FULL
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space"), atomic_folder(tmp_path / "x") as work:
        (work / "new").touch()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["old"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    message = rf"^cannot write it: No space left on device \({tmp_path}/x\); try again$"
    with pytest.raises(FilesError, match=message), disk_errors("write it", "try again"), naming(tmp_path / "x"):
        raise OSError(28, "No space left on device")


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
    with python(HOLD, tmp_path / "lock") as holder:
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
    with python(code, tmp_path / "lock") as holder:
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
    with python(HOLD, tmp_path / "lock") as waiting:
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
    with python(WRITE, tmp_path / "new", *files) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FilesError, match=r"another process is writing .*; wait for it"),
            exclusive(tmp_path / "new", *files),
        ):
            pass
        holder.kill()
    with exclusive(tmp_path / "new", *files), exclusive(tmp_path / "new", *files, wait=True):
        assert len(names(tmp_path / "new")) == 1
    assert names(tmp_path / "new") == []


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
    with python(leave_behind, tmp_path) as process:
        process.wait(60)
    (tmp_path / ".cache-1-user's").touch()
    assert len(names(tmp_path)) == 4
    with exclusive(tmp_path, "other"):
        assert len(names(tmp_path)) == 5, "leftovers of other files are not its own"
    with exclusive(tmp_path):
        assert names(tmp_path) == [".cache-1-user's", ".lock", "kept"]


def test_a_folder_whose_replacement_was_killed_is_restored(tmp_path: Path) -> None:
    for name in (".x-12-01234567", ".x-12-01234567.old", ".y-12-01234567.old", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name.strip(".")).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["x", "y"]
    assert names(tmp_path / "x") == ["x-12-01234567.old"] and names(tmp_path / "y") == ["y"]


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
    running, killed, ended = (python(code) for _ in range(3))
    folders = []
    for process in (running, killed, ended):
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    killed.kill()
    ended.communicate("")
    killed.communicate()
    assert [folder.is_dir() for folder in folders] == [True, True, False]
    python(next_start, tmp_path / "out").communicate("")
    assert names(tmp_path) == sorted([folders[0].name, f"{folders[0].name}.lock"])
    running.communicate("")
    assert names(tmp_path) == []


# -- folders that are built once ----------------------------------------------------------------------------


def write(text: str, written: list[str] | None = None) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "content").write_text(text, encoding="utf-8")
        if written is not None:
            written.append(text)

    return build


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    written: list[str] = []
    for _ in range(3):
        folder = build_from(tmp_path / "deep" / "x", ORIGIN, write("good", written))
    assert (folder / "content").read_text() == "good"
    assert written == ["good"]


def flip(folder: Path) -> None:
    (folder / "content").write_text("goot", encoding="utf-8")


def lose(folder: Path) -> None:
    (folder / "content").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[", encoding="utf-8")


@pytest.mark.parametrize("damage", [flip, lose, lose_manifest, shutil.rmtree])
def test_a_damaged_folder_is_built_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = build_from(tmp_path / "x", ORIGIN, write("good"))
    damage(folder)
    assert not is_built_from(folder, ORIGIN)
    build_from(folder, ORIGIN, write("good"))
    assert is_built_from(folder, ORIGIN)
    assert names(tmp_path) == [".x.lock", "x"]


def test_a_folder_of_another_origin_is_built_again(tmp_path: Path) -> None:
    build_from(tmp_path / "x", ORIGIN, write("old"))
    folder = build_from(tmp_path / "x", ORIGIN | {"sha256": "1"}, write("new"))
    assert (folder / "content").read_text() == "new"


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write("half")(folder)
        raise GameError("no")

    with pytest.raises(GameError, match="no"):
        build_from(tmp_path / "x", ORIGIN, fail)
    assert names(tmp_path) == [".x.lock"]


def test_several_processes_build_one_folder_once(tmp_path: Path) -> None:
    code = """
    import sys, time
    from pathlib import Path
    from games.files import build_from
    def build(folder):
        time.sleep(0.3); (folder / "content").write_text("good")
        with open(sys.argv[1] + "/log", "a") as log: log.write("built\\n")
    build_from(Path(sys.argv[1], "x"), {"a": "b"}, build)
    """
    running = [python(code, tmp_path) for _ in range(4)]
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(FilesError, match="ACTDE_CACHE") as caught:
        build_from(tmp_path / "file" / "x", ORIGIN, write("good"))
    assert "\n" not in str(caught.value)


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    assert cache_folder("x") == tmp_path / "x"
    monkeypatch.delenv("ACTDE_CACHE")
    assert cache_folder("x").parent.name == "actde"


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no stream"), "no stream"),
        (io.UnsupportedOperation("not readable"), "not readable"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(), "OSError"),
    ],
)
def test_no_message_about_a_file_ends_with_none(
    error: OSError, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **keywords: object) -> None:
        raise error

    (tmp_path / "prompts.txt").write_text("We had a\n")
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(AgentError, match=rf"cannot be read: {told}\Z"):
        read_preferences(tmp_path / "pairs.jsonl")
    with pytest.raises(GameError, match=rf"cannot be read: {told}\Z"):
        load_prompts(str(tmp_path / "prompts.txt"))
    with pytest.raises(FilesError, match=rf"cannot do it: {told}; advice"), disk_errors("do it", "advice"):
        raise error
