"""Check game files before Jericho loads them, because Jericho exits the process on invalid data."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from games import files
from games.child_process import python_environment
from games.errors import GameError
from games.textworld import pddl_file
from games.untrusted_files import parse_json, read_bytes

# The header holds the version at byte 0, the serial number (a date) at bytes 18-23, the length of the story in units at
# byte 26, and the checksum at byte 28.
HEADER = 64  # bytes
MAX_RECORD, MAX_STORY = 200_000_000, 1_000_000  # bytes; the Z-machine allows stories of up to 512 KiB
OURS, FOREIGN, PLAIN, PDDL = "ours", "foreign", "plain", "pddl"
"""The origins of game files: this project, other TextWorld games, stories without a record, `.tw-pddl` games."""
UNIT = {1: 2, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8}  # version -> unit of the length in the header, in bytes
STORIES = tuple(f".z{version}" for version in UNIT)
SUFFIXES = (*STORIES, ".json", pddl_file.SUFFIX)
CHECK_SECONDS = 300
TRACEBACK = "Traceback (most recent call last)"
VARIABLE = "ACTDE_UNVERIFIED"  # if 1, foreign games can be played even if their records fail `record_check.py`


def story_and_record(path: Path) -> tuple[Path, Path]:
    """Return the paths of a game's `.z8` and `.json`, given either path. Raise GameError if a file is missing."""
    if path.suffix not in (".z8", ".json"):
        raise GameError(f"{path}: expected a game file, NAME.z8 or NAME.json")
    story, record = path.with_suffix(".z8"), path.with_suffix(".json")
    for file, description in ((story, "the compiled game"), (record, "TextWorld's record of the game")):
        if not file.is_file():
            hint = "" if file == path else f", {description}, beside {path.name}"
            raise GameError(f"{file}: no such game file{hint}")
    return story, record


def is_plain(path: Path) -> bool:
    """Return whether `path` names a game that is played without a `.json`."""
    if path.suffix == ".z8":
        return not path.name.startswith("tw-") and not path.with_suffix(".json").exists()
    return path.suffix in STORIES


def check(path: Path) -> str:
    """Return the origin of a game file: OURS, FOREIGN, PLAIN or PDDL. Raise GameError if the file is invalid."""
    if path.suffix == pddl_file.SUFFIX:
        pddl_file.read(path)
        return PDDL
    if is_plain(path):
        with files.disk_errors("read the game file", "is it readable?"):
            check_story(read_bytes(path, limit=MAX_STORY), path, UNIT)
        return PLAIN
    story, record = story_and_record(path)
    with files.disk_errors("read the game file", "is it readable?"):
        story_bytes, record_bytes = read_bytes(story, limit=MAX_STORY), read_bytes(record, limit=MAX_RECORD)
    check_story(story_bytes, story)
    record_content = _parse_record(record_bytes, record)
    actde_entry = record_content["metadata"].get("actde")
    if isinstance(actde_entry, dict) and "story" in actde_entry:
        if actde_entry["story"] != hashlib.sha256(story_bytes).hexdigest():
            raise GameError(f"{record}: this record belongs to another game file than {story.name}")
        if actde_entry.get("record") != record_hash(record_content):
            raise GameError(f"{record}: the record of the game is damaged or was changed")
        return OURS
    _check_foreign(story, story_bytes, record_bytes)
    return FOREIGN


def check_story(story_bytes: bytes, path: Path, versions: Collection[int] = (8,)) -> None:
    """Raise GameError unless `story_bytes` are a complete Z-machine game with a version in `versions`."""
    if not story_bytes:
        raise GameError(f"{path}: the game file is empty")
    if len(story_bytes) < HEADER or story_bytes[0] not in versions:
        first, last = min(versions), max(versions)
        expected = f"version {first}" if len(versions) == 1 else f"versions {first} to {last}"
        raise GameError(f"{path}: not a game file (expected a Z-machine story of {expected})")
    length = int.from_bytes(story_bytes[26:28], "big") * UNIT[story_bytes[0]]
    has_checksum = length > 0 or story_bytes[0] > 3
    if not has_checksum:
        length = len(story_bytes)  # the oldest stories have neither length nor checksum in their header
    if length < HEADER:
        raise GameError(f"{path}: not a game file (its header states no length)")
    if len(story_bytes) < length:
        raise GameError(f"{path}: the game file is truncated ({len(story_bytes)} of {length} bytes)")
    if has_checksum and sum(story_bytes[HEADER:length]) % 65536 != int.from_bytes(story_bytes[28:30], "big"):
        raise GameError(f"{path}: the game file is damaged (its checksum is wrong)")
    # versions 6 and 7 store this address in packed form
    start_address = () if story_bytes[0] in (6, 7) else (("start", 6),)
    for name, offset in (*start_address, ("dictionary", 8), ("objects", 10), ("globals", 12), ("static memory", 14)):
        if not HEADER <= int.from_bytes(story_bytes[offset : offset + 2], "big") < length:
            raise GameError(f"{path}: not a game file (its header puts the {name} outside it)")


def record_hash(content: dict[str, Any]) -> str:
    """Return a hash of a record, ignoring the entry that stores the hash."""
    actde_entry = {key: value for key, value in content["metadata"]["actde"].items() if key != "record"}
    return files.json_hash({**content, "metadata": {**content["metadata"], "actde": actde_entry}})


def without_date(story_bytes: bytes) -> bytes:
    """Return `story_bytes` with zeros instead of the compilation date."""
    return story_bytes[:18] + b"000000" + story_bytes[24:]  # the checksum does not cover the date


def _parse_record(record_bytes: bytes, path: Path) -> dict[str, Any]:
    if not record_bytes.strip():
        raise GameError(f"{path}: the record of the game is empty")
    try:
        content = parse_json(record_bytes, str(path))
    except GameError:
        raise GameError(f"{path}: the record of the game is truncated or not JSON") from None
    required_keys = ("world", "quests", "infos", "KB", "metadata", "objective")
    if not isinstance(content, dict) or any(name not in content for name in required_keys):
        raise GameError(f"{path}: not TextWorld's record of a game (expected the keys {', '.join(required_keys)})")
    if not isinstance(content["metadata"], dict):
        raise GameError(f"{path}: not TextWorld's record of a game (its metadata is no object)")
    walkthrough = content["metadata"].get("walkthrough") or []
    if not isinstance(walkthrough, list) or not all(isinstance(command, str) for command in walkthrough):
        raise GameError(f"{path}: not TextWorld's record of a game (its walkthrough is no list of commands)")
    return content


def _check_foreign(story: Path, story_bytes: bytes, record_bytes: bytes) -> None:
    digest = hashlib.sha256(hashlib.sha256(story_bytes).digest() + hashlib.sha256(record_bytes).digest()).hexdigest()
    accepts_unverified = os.environ.get(VARIABLE) == "1"
    marker = files.cache_folder("checked" if accepts_unverified else "verified") / digest
    if marker.exists():
        return
    verdict, reason = _run_check(story)
    if verdict == "unverified" and not accepts_unverified:
        causes = f"damaged, changed, or made with another version of TextWorld; {VARIABLE}=1 plays it anyway"
        raise GameError(f"{story}: the .json beside it does not match the story ({reason}): {causes}")
    if verdict == "problem":
        raise GameError(f"{story}: the game is damaged, or the .json beside it belongs to another game ({reason})")
    with files.disk_errors("store that the game was checked", f"see {files.VARIABLE}"):
        files.create_folder(marker.parent)
        marker.touch()


def _run_check(story: Path) -> tuple[str, str]:
    """Run `playthrough_check` in a child process. Return (verdict, reason), or ("", "") if the game passes."""
    code = "import sys; from games.textworld.validation.playthrough_check import main; sys.exit(main(sys.argv[1]))"
    temporary = tempfile.TemporaryDirectory(prefix="check-", dir=files.scratch_folder(), ignore_cleanup_errors=True)
    with temporary as folder:
        try:
            child = subprocess.run(
                [sys.executable, "-c", code, str(story.absolute())],
                capture_output=True, text=True, errors="replace", timeout=CHECK_SECONDS, env=python_environment(),
                check=False, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise GameError(f"{story}: the game hangs (no result within {CHECK_SECONDS} s)") from None
    if child.returncode == 0:
        return "", ""
    for line in child.stdout.splitlines():
        verdict, _, reason = line.partition(": ")
        if verdict in ("problem", "unverified"):
            return verdict, reason.strip()
    if TRACEBACK in child.stderr:
        raise RuntimeError(f"{story}: the check of the game has a bug\n{child.stderr}")
    reason = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit status {child.returncode}"
    raise GameError(f"{story}: the interpreter cannot load or play the game, which may be damaged ({reason})")
