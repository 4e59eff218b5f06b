"""Is this a game that can be loaded? Asked before loading, because the C library exits on rubbish.

A TextWorld game is two files: the story `NAME.z8` (Z-machine, version 8) and TextWorld's record of it, `NAME.json`. The
story's header, length and checksum are checked here, then that the record belongs to it: a game of ours
carries the hashes of both; any other is played once through its walkthrough in a child process, its record is
compiled again and compared (`record_check.py`), and success is remembered. Any other Z-machine story (`.z1` to
`.z7`, or a `.z8` that neither begins with `tw-` nor has a record) has only its header, length and checksum to be
checked. Generating games is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from games import files
from games.child_process import python_environment
from games.errors import GameError

HEADER = 64
"""Bytes of the Z-machine's header: version at 0, serial (a date) at 18-23, length / UNIT at 26, checksum at 28."""
MAX_RECORD = 200_000_000
OURS, FOREIGN, PLAIN = "ours", "foreign", "plain"
"""Made by us; TextWorld's, made by others; a Z-machine story without TextWorld's record."""
VERSIONS = range(1, 9)
STORIES = tuple(f".z{version}" for version in VERSIONS)
UNIT = {1: 2, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8}
"""Z-machine version -> bytes in a unit of the length that the header states."""
PROBE_SECONDS = 300
VARIABLE = "ACTDE_UNVERIFIED"
"""Set to 1, it lets foreign files play whose record this version of TextWorld does not compile to their story."""


def pair(path: Path) -> tuple[Path, Path]:
    """The story and the record that `path` (either of them) names; GameError where one is missing."""
    if path.suffix not in (".z8", ".json"):
        raise GameError(f"{path}: expected a game file, NAME.z8 or NAME.json")
    story, record = path.with_suffix(".z8"), path.with_suffix(".json")
    for file, what in ((story, "the compiled game"), (record, "TextWorld's record of the game")):
        if not file.is_file():
            beside = "" if file == path else f", {what}, beside {path.name}"
            raise GameError(f"{file}: no such game file{beside}")
    return story, record


def is_plain(path: Path) -> bool:
    """Whether `path` is named like a story that is played without TextWorld's record."""
    if path.suffix == ".z8":
        return not path.name.startswith("tw-") and not path.with_suffix(".json").exists()
    return path.suffix in STORIES


def check(path: Path) -> str:
    """OURS or FOREIGN for a sound pair of files, PLAIN for a sound story; GameError in one line for anything else."""
    if is_plain(path):
        with files.disk_errors("read the game file", "is it readable?"):
            check_story(path.read_bytes(), path, VERSIONS)
        return PLAIN
    story, record = pair(path)
    with files.disk_errors("read the game file", "is it readable?"):
        data, text = story.read_bytes(), record.read_bytes()
    check_story(data, story)
    content = _record(text, record)
    mark = content["metadata"].get("actde")
    if isinstance(mark, dict) and "story" in mark:
        if mark["story"] != hashlib.sha256(data).hexdigest():
            raise GameError(f"{record}: this record belongs to another game file than {story.name}")
        if mark.get("record") != record_hash(content):
            raise GameError(f"{record}: the record of the game is damaged or was changed")
        return OURS
    _probe(story, data, text)
    return FOREIGN


def check_story(data: bytes, path: Path, versions: Collection[int] = (8,)) -> None:
    """Raise GameError unless `data` is a whole Z-machine story of one of `versions`."""
    if not data:
        raise GameError(f"{path}: the game file is empty")
    if len(data) < HEADER or data[0] not in versions:
        known = f"version {min(versions)}" if len(versions) == 1 else f"versions {min(versions)} to {max(versions)}"
        raise GameError(f"{path}: not a game file (expected a Z-machine story of {known})")
    length = int.from_bytes(data[26:28], "big") * UNIT[data[0]]
    checked = length > 0 or data[0] > 3
    if not checked:
        length = len(data)  # the oldest stories state neither length nor checksum
    if length < HEADER:
        raise GameError(f"{path}: not a game file (its header states no length)")
    if len(data) < length:
        raise GameError(f"{path}: the game file is truncated ({len(data)} of {length} bytes)")
    if checked and sum(data[HEADER:length]) % 65536 != int.from_bytes(data[28:30], "big"):
        raise GameError(f"{path}: the game file is damaged (its checksum is wrong)")
    starts = () if data[0] in (6, 7) else (("start", 6),)  # there, the start is packed
    for name, at in (*starts, ("dictionary", 8), ("objects", 10), ("globals", 12), ("static memory", 14)):
        if not HEADER <= int.from_bytes(data[at : at + 2], "big") < length:
            raise GameError(f"{path}: not a game file (its header puts the {name} outside it)")


def record_hash(content: dict[str, Any]) -> str:
    """The hash that a record of ours carries of itself, `metadata.actde.record`, which it leaves out."""
    mark = {key: value for key, value in content["metadata"]["actde"].items() if key != "record"}
    content = {**content, "metadata": {**content["metadata"], "actde": mark}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def without_date(data: bytes) -> bytes:
    """The story with a fixed serial number in place of the day it was compiled; no checksum covers it."""
    return data[:18] + b"000000" + data[24:]


def _record(text: bytes, path: Path) -> dict[str, Any]:
    if len(text) > MAX_RECORD:
        raise GameError(f"{path}: too large for the record of a game ({len(text)} bytes)")
    if not text.strip():
        raise GameError(f"{path}: the record of the game is empty")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise GameError(f"{path}: the record of the game is truncated or not JSON") from None
    needed = ("world", "quests", "infos", "KB", "metadata", "objective")
    if not isinstance(content, dict) or any(name not in content for name in needed):
        raise GameError(f"{path}: not TextWorld's record of a game (expected the keys {', '.join(needed)})")
    if not isinstance(content["metadata"], dict):
        raise GameError(f"{path}: not TextWorld's record of a game (its metadata is no object)")
    return content


def _probe(story: Path, data: bytes, text: bytes) -> None:
    """Examine the pair in a child process, where the C library may exit or hang; remember success."""
    digest = hashlib.sha256(hashlib.sha256(data).digest() + hashlib.sha256(text).digest()).hexdigest()
    trusting = os.environ.get(VARIABLE) == "1"
    seen = files.cache_folder("checked" if trusting else "verified") / digest
    if seen.exists():
        return
    what, why = _examine(story)
    if what == "unverified" and not trusting:
        other = f"damaged, changed, or made with another version of it; {VARIABLE}=1 plays it all the same"
        raise GameError(f"{story}: the .json beside it cannot be relied on ({why}): {other}")
    if what in ("problem", "crash"):
        raise GameError(f"{story}: the game is damaged, or the .json beside it belongs to another game ({why})")
    with files.disk_errors("remember that the game was checked", f"see {files.VARIABLE}"):
        seen.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(seen, f"{story.name}\n")


def _examine(story: Path) -> tuple[str, str]:
    """What `playthrough_check` finds, as (`problem` or `unverified`, why); `crash` where it finds no words."""
    code = "import sys; from games.textworld.validation.playthrough_check import main; sys.exit(main(sys.argv[1]))"
    with tempfile.TemporaryDirectory(prefix="actde-probe-", ignore_cleanup_errors=True) as folder:
        try:
            child = subprocess.run(
                [sys.executable, "-c", code, str(story.absolute())],
                capture_output=True, text=True, errors="replace", timeout=PROBE_SECONDS, env=python_environment(),
                check=False, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise GameError(f"{story}: the game hangs ({PROBE_SECONDS} s to examine it)") from None
    if child.returncode == 0:
        return "", ""
    for line in child.stdout.splitlines():
        what, _, why = line.partition(": ")
        if what in ("problem", "unverified"):
            return what, why.strip()
    return "crash", "the interpreter cannot load it"
