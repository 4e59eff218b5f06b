"""Generate curricula, which are folders of games with a manifest.

Each level has a fixed sequence of candidates. The contents of a folder depend on the request alone.
"""

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from games import files
from games.cluster_pool import ClusterPool, open_pool
from games.errors import FilesError, GameError, nearest
from games.parameters import parse_settings
from games.textworld.generation import manifest
from games.textworld.generation.families import MAX_SEED, Values, family
from games.textworld.generation.manifest import ManifestEntry
from games.textworld.generation.reserved_seeds import RESERVED
from games.untrusted_files import as_object, is_present, parse_json, read_json, read_lines
from games.worker_pool import WorkerPool

REQUEST, JOURNAL, WORK = "curriculum.json", "journal.jsonl", "work"
PATIENCE = 100  # the number of consecutive rejected candidates after which `generate` raises GameError
# verdict of `_judge` on a rejected candidate -> reason; a `made` game is rejected only if it equals an earlier one
PASSED = {"made": "duplicates", "other split": "of another split", "impossible": "impossible"}
ADVICE = "free some space or choose another folder; the same command resumes where it stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of `generate`, in totals over all levels."""

    done: int  # accepted games
    total: int
    level: int  # the current level
    candidates: int  # accepted and rejected candidates
    passed: dict[str, int]  # reason for a rejection -> number of candidates


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
    cluster: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[ManifestEntry]:
    """Make a curriculum in the folder `out` and return its games. The same call resumes an interrupted run.

    * `settings`: further parameters of the family, such as `{"goal": "none"}`.
    * `workers`: the number of processes, by default the number of usable CPUs, but at most 32.
    * `cluster`: the address of a Ray cluster that makes the games instead.

    Raise GameError if the request is invalid, `out` holds other files, or a level has too few games.
    """
    request = _request(family, levels, per_level, split, seed, settings or {})
    folder = Path(out).expanduser().absolute()
    with files.disk_errors("write the curriculum", ADVICE):
        if folder.exists() and not folder.is_dir():
            raise GameError(f"{folder}: expected a folder, it is a file")
        with files.exclusive(folder, wait=True):
            _claim(folder, request)
            if not (folder / manifest.NAME).exists():
                with open_pool(workers, cluster, folder) as pool:
                    entries = _make(folder, request, pool, on_progress or (lambda progress: None))
                manifest.write_manifest(folder, entries)
            (folder / JOURNAL).unlink(missing_ok=True)
            shutil.rmtree(folder / WORK, ignore_errors=True)
    return manifest.load_manifest(folder / manifest.NAME)


def _request(name: str, levels: Sequence[int], per_level: int, split: str, seed: int, words: Mapping[str, str]) -> Any:
    """Check the arguments of `generate` and return them as JSON data."""
    chosen = family(name)
    if split not in manifest.SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, manifest.SPLITS)}")
    if not levels or len(set(levels)) < len(levels):
        raise GameError(
            f"--levels: expected different levels from 1 to {chosen.levels}, got {','.join(map(str, levels))}"
        )
    if not 1 <= per_level <= 100_000:
        raise GameError(f"--per-level {per_level}: expected a whole number from 1 to 100000")
    reserved = {"level": "--levels", "seed": "--seed", **({"split": "--split"} if name == "cooking" else {})}
    for word in words:
        if word in reserved:
            raise GameError(f"--set {word}={words[word]}: {word} is an option of its own, {reserved[word]}")
    table = [parameter for parameter in chosen.parameters if parameter.name not in reserved]
    given = parse_settings(table, words, name)
    if name == "cooking":
        given["split"] = split
    for level in levels:
        if level not in range(1, chosen.levels + 1):
            raise GameError(f"--levels {level}: expected levels of {name} from 1 to {chosen.levels}")
        chosen.complete({"level": level, **given})
    request = {"family": name, "levels": list(levels), "per_level": per_level, "split": split, "seed": seed}
    return {**request, "settings": given}


def _claim(folder: Path, request: Any) -> None:
    """Write the request into `folder`. Raise GameError if the folder holds other files."""
    mark = folder / REQUEST
    if mark.exists():
        if read_json(mark) != request:
            raise GameError(f"{folder}: holds a curriculum made with other settings; choose another folder")
    elif any(path.name != files.LOCK for path in folder.iterdir()):
        raise GameError(f"{folder}: the folder is not empty; choose an empty or new one")
    else:
        files.atomic_write(mark, json.dumps(request))


def _make(
    folder: Path, request: Any, pool: WorkerPool | ClusterPool, report: Callable[[Progress], None]
) -> list[ManifestEntry]:
    journal = _read_journal(folder / JOURNAL)
    entries: list[ManifestEntry] = []
    passed: Counter[str] = Counter()

    def report_progress() -> None:
        total, judged = request["per_level"] * len(request["levels"]), len(entries) + passed.total()
        report(Progress(done=len(entries), total=total, level=level, candidates=judged, passed=dict(passed)))

    for level in request["levels"]:
        wanted, misses = len(entries) + request["per_level"], 0
        report_progress()
        for verdict in _candidates(folder, request, level, journal, pool):
            if verdict["verdict"] == "made" and verdict["hash"] not in {entry.hash for entry in entries}:
                entries.append(_accept(folder, request, verdict, len(entries)))
                misses = 0
            else:
                passed[PASSED[verdict["verdict"]]] += 1
                misses += 1
            report_progress()
            if len(entries) == wanted:
                break
            if misses == PATIENCE:
                accepted = request["per_level"] - (wanted - len(entries))
                raise GameError(f"{request['family']} level {level}: only {accepted} different games were found for"
                                f" the {request['split']} split, {request['per_level']} were asked for")  # fmt: skip
    return entries


def _candidates(
    folder: Path, request: Any, level: int, journal: dict[str, Any], pool: WorkerPool | ClusterPool
) -> Iterator[dict[str, Any]]:
    """Yield the verdict on each candidate of a level, endlessly. The entry `work` is the path of the story."""
    ahead: deque[tuple[str, Path, Any]] = deque()
    number = 0
    try:
        while True:
            while len(ahead) < 2 * pool.size:  # so that no process waits for a slow candidate
                values = {"level": level, "seed": _seed(request, level, number), **request["settings"]}
                key = f"{level}-{number}"
                work = folder / WORK / f"tw-{key}.z8"
                job = (request["family"], values, request["split"], work)
                ahead.append((key, work, None if key in journal else pool.submit(_judge, *job)))
                number += 1
            key, work, future = ahead.popleft()
            if future is not None:
                journal[key] = future.result()
                with (folder / JOURNAL).open("a") as file:
                    file.write(json.dumps({"key": key, **journal[key]}) + "\n")
            yield {**journal[key], "work": work}
    finally:
        for *_, future in ahead:
            if future is not None:
                future.cancel()


def _judge(name: str, values: Values, split: str, path: Path) -> dict[str, Any]:
    """Make one game, and write it if it belongs to `split`. The result's `verdict` is a key of `PASSED`."""
    from games.textworld.generation import make_game

    settings = family(name).complete(values)
    try:
        game = make_game.make_game(name, settings)
        canonical = make_game.canonical_hash(game)
        if name != "cooking" and manifest.split_of(canonical) != split:
            return {"verdict": "other split"}
        make_game.write_game(game, path)
    except GameError as error:
        return {"verdict": "impossible", "why": str(error)}
    return {
        "verdict": "made",
        "hash": canonical,
        "settings": settings,
        "max_score": int(game.max_score),
        "walkthrough_length": len(game.metadata["walkthrough"]),
        "sha256": manifest.files_hash(path),
    }


def _is_verdict(verdict: dict[str, Any]) -> bool:
    if verdict.get("verdict") != "made":
        return "key" in verdict and verdict.get("verdict") in PASSED
    kinds = {"key": str, "hash": str, "settings": dict, "max_score": int, "walkthrough_length": int, "sha256": str}
    return all(type(verdict.get(name)) is kind for name, kind in kinds.items())


def _seed(request: Any, level: int, number: int) -> int:
    digest = files.json_hash([request["family"], request["split"], request["seed"], level, number])
    seed = int(digest[:16], 16) % (MAX_SEED + 1)
    return seed - len(RESERVED) if seed in RESERVED else seed


def _accept(folder: Path, request: Any, verdict: dict[str, Any], at: int) -> ManifestEntry:
    """Move an accepted candidate into the curriculum. `at` is the number of games accepted before."""
    settings = verdict["settings"]
    path = folder / f"tw-{request['family']}-level{settings['level']}-{at % request['per_level'] + 1:04}.z8"
    for suffix in (".json", ".z8"):
        source = verdict["work"].with_suffix(suffix)
        if source.exists():  # otherwise, an interrupted run has moved it
            source.replace(path.with_suffix(suffix))
    if manifest.files_hash(path) != verdict["sha256"]:
        raise GameError(f"{folder}: {path.name} was changed since it was made; delete the folder and start again")
    values = {**request, **verdict, "file": path.name, "level": settings["level"], "seed": settings["seed"]}
    return ManifestEntry(path=path, **{key: values[key] for key in manifest.KEYS})


def _read_journal(path: Path) -> dict[str, Any]:
    """Return the verdicts of an interrupted run. The keys are `LEVEL-NUMBER`."""
    journal: dict[str, Any] = {}
    for where, line in read_lines(path) if is_present(path) else ():
        try:
            verdict = as_object(parse_json(line, where), where)
            if not line.endswith("\n") or not _is_verdict(verdict):
                break
        except FilesError:  # the candidates from here on are judged again
            break
        journal[verdict.pop("key")] = verdict
    path.parent.joinpath(WORK).mkdir(exist_ok=True)
    files.atomic_write(path, (json.dumps({"key": key, **verdict}) + "\n" for key, verdict in journal.items()))
    return journal
