"""Curricula: folders of generated games with a manifest, made by several processes, resumable, reproducible.

Candidate games are a fixed sequence of seeds for each level. A candidate is taken where TextWorld can make it,
its canonical hash belongs to the split asked for, and no game before it is the same; so what a folder holds
depends on the request alone, not on how many processes worked or how often they were interrupted. One game is
`games/textworld/generation/make_game.py`; the processes are `games/worker_pool.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from games import files
from games.errors import GameError, nearest
from games.parameters import Value, parse_settings
from games.textworld.generation.candidate import judge
from games.textworld.generation.families import MAX_SEED, family
from games.textworld.generation.manifest import NAME, SPLITS, Entry, files_hash, load_manifest, write_manifest
from games.textworld.generation.reserved_seeds import RESERVED
from games.worker_pool import WorkerPool

REQUEST, JOURNAL, LOCK, WORK = "curriculum.json", "journal.jsonl", ".lock", "work"
PATIENCE = 100
"""Candidates in a row that are not taken before a level counts as exhausted."""
PASSED = {"made": "duplicates", "other split": "of another split", "impossible": "impossible"}
"""Why a candidate is not taken, by the verdict on it (`judge`)."""
ADVICE = "free some space or choose another folder; the same command goes on where it stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a curriculum is."""

    done: int
    """Games taken."""
    total: int
    """Games asked for."""
    level: int
    """The level being made."""
    candidates: int
    """Candidates looked at, over all levels."""
    passed: dict[str, int]
    """Candidates passed over, by why: `duplicates`, `of another split`, `impossible`."""


def generate(
    out: str | Path,
    *,
    family: str,
    levels: Sequence[int],
    per_level: int,
    split: str = "train",
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Entry]:
    """Make a curriculum in the folder `out` and return its games in order.

    `settings` are further settings of the family as text (`{"goal": "none"}`), `workers` is the number of
    processes (default: the CPUs that this one may use, at most 32). An interrupted run is continued by the same call; a
    finished one is verified and returned. GameError for a mistake in the request, an `out` that holds
    something else, a level with too few different games, a full or read-only disk.
    """
    request = _request(family, levels, per_level, split, seed, settings or {})
    folder = Path(out).expanduser().absolute()
    with files.disk_errors("write the curriculum", ADVICE):
        _claim(folder, request)
        with files.file_lock(folder / LOCK):
            if not (folder / NAME).exists():
                with WorkerPool(workers) as pool:
                    entries = _make(folder, request, pool, on_progress or (lambda progress: None))
                write_manifest(folder, entries)
            _tidy(folder)
    return load_manifest(folder / NAME)


def _request(name: str, levels: Sequence[int], per_level: int, split: str, seed: int, words: Mapping[str, str]) -> Any:
    """The request as JSON data, checked."""
    chosen = family(name)
    if split not in SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, SPLITS)}")
    if not levels or len(set(levels)) < len(levels):
        raise GameError(f"levels: expected different levels from 1 to {chosen.levels}, got {list(levels)}")
    if not 1 <= per_level <= 100_000:
        raise GameError(f"per_level={per_level}: expected a whole number from 1 to 100000")
    reserved = {"level", "seed", *(("split",) if name == "cooking" else ())} & set(words)
    if reserved:
        raise GameError(f"settings: {sorted(reserved)[0]} is an option of its own, not a setting of the games")
    given = parse_settings(chosen.table, words, name)
    if name == "cooking":
        given["split"] = split
    for level in levels:
        chosen.complete({**parse_settings(chosen.table, {"level": str(level)}, name), **given})
    data = {"family": name, "levels": list(levels), "per_level": per_level, "split": split, "seed": seed}
    return {**data, "settings": given}


def _claim(folder: Path, request: Any) -> None:
    """Make `folder` ours for this request; GameError where it holds something else."""
    if folder.exists() and not folder.is_dir():
        raise GameError(f"{folder}: expected a folder, it is a file")
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / REQUEST
    if mark.exists():
        try:
            found = json.loads(mark.read_text())
        except ValueError:
            found = None
        if found != request:
            raise GameError(f"{folder}: holds a curriculum made with other settings; choose another folder")
    elif any(folder.iterdir()):
        raise GameError(f"{folder}: the folder is not empty; choose an empty or new one")
    else:
        files.atomic_write(mark, json.dumps(request))


def _make(folder: Path, request: Any, pool: WorkerPool, report: Callable[[Progress], None]) -> list[Entry]:
    """All games of the request, in order."""
    journal = _read_journal(folder / JOURNAL)
    entries: list[Entry] = []
    looked = 0
    passed: Counter[str] = Counter()
    total = request["per_level"] * len(request["levels"])
    for level in request["levels"]:
        wanted, misses = len(entries) + request["per_level"], 0
        report(Progress(done=len(entries), total=total, level=level, candidates=looked, passed=dict(passed)))
        for values, verdict in _candidates(folder, request, level, journal, pool):
            looked += 1
            new = verdict.get("hash") not in {entry.hash for entry in entries}
            if verdict["verdict"] == "made" and new:
                entries.append(_take(folder, request, values, verdict, len(entries)))
                misses = 0
            else:
                passed[PASSED[verdict["verdict"]]] += 1
                misses += 1
            report(Progress(done=len(entries), total=total, level=level, candidates=looked, passed=dict(passed)))
            if len(entries) == wanted:
                break
            if misses == PATIENCE:
                missing = request["per_level"] - (wanted - len(entries))
                raise GameError(f"{request['family']} level {level}: only {missing} different games were found for"
                                f" the {request['split']} split, {request['per_level']} were asked for")  # fmt: skip
    return entries


def _candidates(
    folder: Path, request: Any, level: int, journal: dict[str, Any], pool: WorkerPool
) -> Iterator[tuple[dict[str, Value], dict[str, Any]]]:
    """(settings, verdict) of one candidate after the other, without end; several are judged at once, ahead.

    Twice as many as there are processes, so that none waits where one candidate takes long; those that nobody
    has begun when the level is full are given up.
    """
    ahead: deque[tuple[str, dict[str, Value], Any]] = deque()
    number = 0
    try:
        while True:
            while len(ahead) < 2 * pool.size:
                values = {"level": level, "seed": _seed(request, level, number), **request["settings"]}
                key = f"{level}-{number}"
                job = (request["family"], values, request["split"], folder / WORK / f"tw-{key}.z8")
                ahead.append((key, values, None if key in journal else pool.submit(judge, *job)))
                number += 1
            key, values, future = ahead.popleft()
            if future is not None:
                journal[key] = future.result()
                with (folder / JOURNAL).open("a") as file:
                    file.write(json.dumps({"key": key, **journal[key]}) + "\n")
            yield values, {**journal[key], "work": str(folder / WORK / f"tw-{key}.z8")}
    finally:
        for _, _, future in ahead:
            if future is not None:
                future.cancel()


def _seed(request: Any, level: int, number: int) -> int:
    """The seed of a level's candidate; curricula with other seeds or splits look at other candidates."""
    text = json.dumps([request["family"], request["split"], request["seed"], level, number])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % (MAX_SEED + 1)
    return seed - len(RESERVED) if seed in RESERVED else seed


def _take(folder: Path, request: Any, values: dict[str, Value], verdict: dict[str, Any], at: int) -> Entry:
    """Move a candidate's files to their place, unless an earlier run has done so."""
    name = f"tw-{request['family']}-level{values['level']}-{at % request['per_level'] + 1:04}.z8"
    for suffix in (".json", ".z8"):
        source = Path(verdict["work"]).with_suffix(suffix)
        if source.exists():
            source.replace((folder / name).with_suffix(suffix))
    entry = Entry(
        file=name,
        family=request["family"],
        level=int(str(values["level"])),
        seed=int(str(values["seed"])),
        split=request["split"],
        settings=verdict["settings"],
        max_score=verdict["max_score"],
        walkthrough_length=verdict["walkthrough_length"],
        hash=verdict["hash"],
        sha256=verdict["sha256"],
        path=folder / name,
    )
    if files_hash(entry.path) != entry.sha256:
        raise GameError(f"{folder}: {name} was changed since it was made; delete the folder and start again")
    return entry


def _read_journal(path: Path) -> dict[str, Any]:
    """Verdicts of an earlier run; a last line that the interruption tore is forgotten."""
    journal: dict[str, Any] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            verdict = json.loads(line)
            journal[verdict.pop("key")] = verdict
        except (ValueError, KeyError, AttributeError):
            break
    path.parent.joinpath(WORK).mkdir(exist_ok=True)
    text = "".join(json.dumps({"key": key, **verdict}) + "\n" for key, verdict in journal.items())
    files.atomic_write(path, text)
    return journal


def _tidy(folder: Path) -> None:
    """Forget how a finished curriculum was made."""
    (folder / JOURNAL).unlink(missing_ok=True)
    (folder / LOCK).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)
