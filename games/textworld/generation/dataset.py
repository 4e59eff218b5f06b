"""Generate curricula, which are folders of games with a manifest."""

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
# verdict of `_judge` -> reason for rejecting the candidate; a `made` game is rejected only if it equals an earlier one
REJECTIONS = {"made": "duplicates", "other split": "of another split", "impossible": "impossible"}
ADVICE = "free some space or choose another folder; the same command resumes where it stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of `generate` over all levels.

    Attributes:
        done: number of accepted games.
        total: number of games to make.
        level: the current level.
        candidates: number of accepted and rejected candidates.
        rejected: a dict: reason for a rejection -> number of candidates.
    """

    done: int
    total: int
    level: int
    candidates: int
    rejected: dict[str, int]


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
    """Make a curriculum in the folder `out` and return the games. Repeating the call resumes an interrupted run.

    * `per_level`: the number of games on each level.
    * `settings`: parameters of the family, such as `{"goal": "none"}`.
    * `workers`: the number of processes, by default the number of usable CPUs, but at most 32.
    * `cluster`: the address of a Ray cluster that replaces local processes.

    Raise GameError if the arguments are invalid or a level has too few games.
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
                    entries = _make_games(folder, request, pool, on_progress or (lambda progress: None))
                manifest.write_manifest(folder, entries)
            (folder / JOURNAL).unlink(missing_ok=True)
            shutil.rmtree(folder / WORK, ignore_errors=True)
    return manifest.load_manifest(folder / manifest.NAME)


def _request(
    family_name: str, levels: Sequence[int], per_level: int, split: str, seed: int, setting_texts: Mapping[str, str]
) -> Any:
    """Check the arguments of `generate` and return them as a dict."""
    game_family = family(family_name)
    if split not in manifest.SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, manifest.SPLITS)}")
    if not levels or len(set(levels)) < len(levels):
        raise GameError(
            f"--levels: expected different levels from 1 to {game_family.levels}, got {','.join(map(str, levels))}"
        )
    if not 1 <= per_level <= 100_000:
        raise GameError(f"--per-level {per_level}: expected a whole number from 1 to 100000")
    options = {"level": "--levels", "seed": "--seed", **({"split": "--split"} if family_name == "cooking" else {})}
    for setting in setting_texts:
        if setting in options:
            raise GameError(
                f"--set {setting}={setting_texts[setting]}: {setting} is an option of its own, {options[setting]}"
            )
    parameters = [parameter for parameter in game_family.parameters if parameter.name not in options]
    parsed_settings = parse_settings(parameters, setting_texts, family_name)
    if family_name == "cooking":
        parsed_settings["split"] = split
    for level in levels:
        if level not in range(1, game_family.levels + 1):
            raise GameError(f"--levels {level}: expected levels of {family_name} from 1 to {game_family.levels}")
        game_family.complete({"level": level, **parsed_settings})
    request = {"family": family_name, "levels": list(levels), "per_level": per_level, "split": split, "seed": seed}
    return {**request, "settings": parsed_settings}


def _claim(folder: Path, request: Any) -> None:
    """Store the request in `folder`. Raise GameError if the folder is used for something else."""
    request_file = folder / REQUEST
    if request_file.exists():
        stored_request = read_json(request_file)
        if differing := [name for name, value in request.items() if stored_request.get(name) != value]:
            other = " and ".join(f"--{name.replace('_', '-')}" for name in differing).replace("--settings", "--set")
            raise GameError(f"{folder}: holds a curriculum made with other {other}; choose another folder")
    elif any(path.name != files.LOCK for path in folder.iterdir()):
        raise GameError(f"{folder}: the folder is not empty; choose an empty or new one")
    else:
        files.atomic_write(request_file, json.dumps(request))


def _make_games(
    folder: Path, request: Any, pool: WorkerPool | ClusterPool, on_progress: Callable[[Progress], None]
) -> list[ManifestEntry]:
    journal = _read_journal(folder / JOURNAL)
    entries: list[ManifestEntry] = []
    rejected: Counter[str] = Counter()

    def report_progress() -> None:
        total, candidates = request["per_level"] * len(request["levels"]), len(entries) + rejected.total()
        on_progress(
            Progress(done=len(entries), total=total, level=level, candidates=candidates, rejected=dict(rejected))
        )

    for level in request["levels"]:
        target, consecutive_rejections = len(entries) + request["per_level"], 0
        report_progress()
        for verdict in _verdicts(folder, request, level, journal, pool):
            if verdict["verdict"] == "made" and verdict["hash"] not in {entry.hash for entry in entries}:
                entries.append(_accept(folder, request, verdict, len(entries)))
                consecutive_rejections = 0
            else:
                rejected[REJECTIONS[verdict["verdict"]]] += 1
                consecutive_rejections += 1
            report_progress()
            if len(entries) == target:
                break
            if consecutive_rejections == PATIENCE:
                accepted = request["per_level"] - (target - len(entries))
                raise GameError(f"{request['family']} level {level}: only {accepted} different games were found for"
                                f" the {request['split']} split, {request['per_level']} were asked for")  # fmt: skip
    return entries


def _verdicts(
    folder: Path, request: Any, level: int, journal: dict[str, Any], pool: WorkerPool | ClusterPool
) -> Iterator[dict[str, Any]]:
    """Yield one verdict per candidate game, without end. `verdict["story"]` is the path of the candidate."""
    pending: deque[tuple[str, Path, Any]] = deque()
    candidate = 0
    try:
        while True:
            while len(pending) < 2 * pool.size:  # so that no process waits for a slow candidate
                values = {"level": level, "seed": _seed(request, level, candidate), **request["settings"]}
                key = f"{level}-{candidate}"
                story = folder / WORK / f"tw-{key}.z8"
                job = (request["family"], values, request["split"], story)
                pending.append((key, story, None if key in journal else pool.submit(_judge, *job)))
                candidate += 1
            key, story, future = pending.popleft()
            if future is not None:
                journal[key] = future.result()
                with (folder / JOURNAL).open("a") as file:
                    file.write(json.dumps({"key": key, **journal[key]}) + "\n")
            yield {**journal[key], "story": story}
    finally:
        for *_, future in pending:
            if future is not None:
                future.cancel()


def _judge(family_name: str, values: Values, split: str, story: Path) -> dict[str, Any]:
    """Make a candidate game and return a verdict. A game outside `split` is not written."""
    from games.textworld.generation import make_game

    settings = family(family_name).complete(values)
    try:
        game = make_game.make_game(family_name, settings)
        game_hash = make_game.canonical_hash(game)
        if family_name != "cooking" and manifest.split_of(game_hash) != split:
            return {"verdict": "other split"}
        make_game.write_game(game, story)
    except GameError as error:
        return {"verdict": "impossible", "why": str(error)}
    return {
        "verdict": "made",
        "hash": game_hash,
        "settings": settings,
        "max_score": int(game.max_score),
        "walkthrough_length": len(game.metadata["walkthrough"]),
        "sha256": manifest.files_hash(story),
    }


def _is_verdict(verdict: dict[str, Any]) -> bool:
    if verdict.get("verdict") != "made":
        return "key" in verdict and verdict.get("verdict") in REJECTIONS
    types = {"key": str, "hash": str, "settings": dict, "max_score": int, "walkthrough_length": int, "sha256": str}
    return all(type(verdict.get(name)) is expected_type for name, expected_type in types.items())


def _seed(request: Any, level: int, candidate: int) -> int:
    digest = files.json_hash([request["family"], request["split"], request["seed"], level, candidate])
    seed = int(digest[:16], 16) % (MAX_SEED + 1)
    return seed - len(RESERVED) if seed in RESERVED else seed


def _accept(folder: Path, request: Any, verdict: dict[str, Any], index: int) -> ManifestEntry:
    """Move an accepted game into the curriculum, which already contains `index` games."""
    settings = verdict["settings"]
    path = folder / f"tw-{request['family']}-level{settings['level']}-{index % request['per_level'] + 1:04}.z8"
    for suffix in (".json", ".z8"):
        source = verdict["story"].with_suffix(suffix)
        if source.exists():  # otherwise, an interrupted run has moved it
            source.replace(path.with_suffix(suffix))
    if manifest.files_hash(path) != verdict["sha256"]:
        raise GameError(f"{folder}: {path.name} was changed since it was made; delete the folder and start again")
    values = {**request, **verdict, "file": path.name, "level": settings["level"], "seed": settings["seed"]}
    return ManifestEntry(path=path, **{key: values[key] for key in manifest.KEYS})


def _read_journal(path: Path) -> dict[str, Any]:
    """Return the verdicts of an interrupted run as a dict: `LEVEL-CANDIDATE` -> verdict."""
    journal: dict[str, Any] = {}
    for location, line in read_lines(path) if is_present(path) else ():
        try:
            verdict = as_object(parse_json(line, location), location)
            if not line.endswith("\n") or not _is_verdict(verdict):
                break
        except FilesError:  # the candidates from here on are judged again
            break
        journal[verdict.pop("key")] = verdict
    path.parent.joinpath(WORK).mkdir(exist_ok=True)
    files.atomic_write(path, (json.dumps({"key": key, **verdict}) + "\n" for key, verdict in journal.items()))
    return journal
