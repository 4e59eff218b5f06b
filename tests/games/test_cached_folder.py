"""Folders that are built once: kept, built again if damaged, and one line if the cache cannot be written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from games.cached_folder import MANIFEST, build_from, is_built_from
from games.errors import FilesError, GameError
from games.files import cache_folder
from tests.helpers.folders import file_names
from tests.helpers.processes import start_python

ORIGIN = {"file": "a", "sha256": "0"}


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
    assert file_names(tmp_path) == [".x.lock", "x"]


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
    assert file_names(tmp_path) == [".x.lock"]


def test_several_processes_build_one_folder_once(tmp_path: Path) -> None:
    code = """
    import sys, time
    from pathlib import Path
    from games.cached_folder import build_from
    def build(folder):
        time.sleep(0.3); (folder / "content").write_text("good")
        with open(sys.argv[1] + "/log", "a") as log: log.write("built\\n")
    build_from(Path(sys.argv[1], "x"), {"a": "b"}, build)
    """
    running = [start_python(code, tmp_path) for _ in range(4)]
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
