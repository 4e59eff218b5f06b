"""Digests of the user's files from which games are made, so that a change of a file is noticed."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from games.completion.input_files import input_files
from games.files import sha256
from games.game_spec import GameSpec


def input_digests(specs: Iterable[GameSpec]) -> dict[str, str]:
    """Return the SHA-256 of each file by its path.

    The files are game files with their `.json`, files of prompts, and the files of reward models. Code is not among
    them, because a user may correct it. A file that does not exist is left out.
    """
    paths: set[Path] = set()
    for spec in specs:
        if spec.kind == "file":
            paths |= {Path(spec.target), Path(spec.target).with_suffix(".json")}
        elif spec.kind == "completion":
            paths |= set(input_files(dict(spec.settings)))
    found = {path: path.stat() for path in sorted(paths) if path.is_file()}
    return {str(path): _digest(path.absolute(), stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


@lru_cache(maxsize=4096)
def _digest(path: Path, modified: int, size: int) -> str:
    return sha256(path)
