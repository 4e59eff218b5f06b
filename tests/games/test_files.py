"""Files and folders are complete or absent, and one process at a time builds them."""

import errno
import io
import os
from pathlib import Path

import pytest

from agents import AgentError
from agents.text.preferences import read_preferences
from games.completion.prompts import load_prompts
from games.errors import FilesError, GameError, add_path_to_errors
from games.files import (
    atomic_folder,
    atomic_write,
    disk_errors,
    sha256,
)
from tests.helpers.folders import file_names

ORIGIN = {"file": "a", "sha256": "0"}
FULL = OSError(28, "No space left on device")


# -- errors of the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space"), Exception("No space left on device (os error 28)")])
def test_an_error_that_names_no_file_gets_a_name(error: Exception) -> None:
    with pytest.raises(OSError) as named, add_path_to_errors(Path("run/x")):  # noqa: PT011
        raise error
    assert (named.value.errno, named.value.filename) == (28, "run/x")


def test_other_errors_stay_as_they_are() -> None:
    quoting = GameError("cannot read y: No such file or directory (os error 2)")
    for error in (OSError(28, "No space", "y"), OSError("no number"), KeyError("x"), quoting):
        with pytest.raises(type(error)) as raised, add_path_to_errors(Path("run/x")):
            raise error
        assert raised.value is error and getattr(error, "filename", None) != "run/x"


# -- atomic writes -----------------------------------------------------------------------------------------


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "né", b"\x00new"):
        atomic_write(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert file_names(tmp_path) == ["x"]


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
    assert file_names(tmp_path) == ["x"]


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
    assert file_names(tmp_path / "deep") == ["x"]
    assert file_names(tmp_path / "deep" / "x") == ["new"]


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
    assert file_names(tmp_path) == ["x"]
    assert file_names(tmp_path / "x") == ["old"]


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
    assert file_names(tmp_path) == ["x"]
    assert file_names(tmp_path / "x") == ["old"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    message = rf"^cannot write it: No space left on device \({tmp_path}/x\); try again$"
    with (
        pytest.raises(FilesError, match=message),
        disk_errors("write it", "try again"),
        add_path_to_errors(tmp_path / "x"),
    ):
        raise OSError(28, "No space left on device")


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
