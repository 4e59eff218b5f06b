"""Which errors about paths are a user's, and which are bugs of ours."""

import copy
import errno
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from agents.play.transcript import recorder
from games.cached_folder import build_from
from games.errors import FilesError, PathError, is_user_error
from games.files import atomic_write, building, create_folder, disk_errors, exclusive
from terminal.watcher.page import write_page
from tests.helpers.screens import QUEST

IN_USE: list[Callable[[Path], AbstractContextManager[object]]] = [
    exclusive,
    lambda folder: exclusive(folder, "x"),
    lambda folder: building(folder / "x"),
]


@pytest.mark.parametrize("hold", IN_USE)
def test_a_folder_that_is_removed_while_it_is_written_is_named(
    hold: Callable[[Path], AbstractContextManager[object]], tmp_path: Path
) -> None:
    def write() -> None:
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out" / "x").write_text("")

    with pytest.raises(PathError) as caught, hold(tmp_path / "out"):
        write()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "out"))
    assert is_user_error(caught.value)


@pytest.mark.parametrize("hold", IN_USE)
def test_a_missing_file_in_a_folder_that_exists_is_a_bug(
    hold: Callable[[Path], AbstractContextManager[object]], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError) as caught, hold(tmp_path / "out"), disk_errors("do it", "advice"):
        (tmp_path / "out" / "x").read_text()
    assert not is_user_error(caught.value)


def test_the_folder_of_saved_episodes_may_be_removed(tmp_path: Path) -> None:
    record = recorder(tmp_path / "out")
    record(QUEST)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(PathError) as caught:
        record(QUEST)
    assert caught.value.filename == str(tmp_path / "out")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO])
def test_a_failing_disk_is_no_bug(number: int) -> None:
    assert is_user_error(OSError(number, "text", "path"))


@pytest.mark.parametrize(("place", "number"), [("file/new/x", errno.ENOTDIR), ("lost", errno.EEXIST)])
@pytest.mark.parametrize("write", [create_folder, lambda folder: recorder(folder)(QUEST)])
def test_a_path_that_cannot_be_a_folder_is_the_users(
    place: str, number: int, write: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PathError) as caught:
        write(tmp_path / place)
    assert (caught.value.errno, is_user_error(caught.value)) == (number, True)


def test_a_place_that_takes_no_folders_is_the_users() -> None:
    with pytest.raises(FilesError, match=r"^/proc/x cannot be created: .*; choose another folder$"):
        create_folder(Path("/proc/x"))


@pytest.mark.parametrize("write", [partial(atomic_write, content="text"), lambda path: write_page(path, [])])
def test_a_folder_in_the_place_of_a_file_is_the_users(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "x.md").mkdir()
    with pytest.raises(PathError) as caught:
        write(tmp_path / "x.md")
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(tmp_path / "x.md"))


def test_a_page_is_written_into_a_new_folder(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "x.md", [])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.md"]


def test_a_bug_that_builds_a_cache_is_not_blamed_on_the_cache(tmp_path: Path) -> None:
    def build(work: Path) -> None:
        (work / "missing").read_text()

    with pytest.raises(FileNotFoundError):
        build_from(tmp_path / "x", {}, build)
    with pytest.raises(FilesError, match="ACTDE_CACHE"):
        build_from(tmp_path / "x", {}, lambda work: shutil.rmtree(tmp_path))


def test_a_worker_process_can_send_the_error() -> None:
    error = copy.copy(PathError(errno.ENOENT, "text", "out"))  # as pickle does
    assert (type(error), error.errno, error.filename) == (PathError, errno.ENOENT, "out")
