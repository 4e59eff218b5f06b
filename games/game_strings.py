"""Resolve GAME strings, such as `textworld:simple?level=1&seed=7`, to `GameSpec` objects."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from games import external_games
from games.code_import import CODE, canonical, find_nearby, named_code
from games.errors import GameError, did_you_mean, nearest
from games.game_spec import BUILT_IN, GameSpec
from games.parameters import Parameter, Value, format_settings, parse_settings, split_query
from games.suites import SUITES, is_suite_game, suite_class
from games.textworld.generation.families import FAMILIES, Family, family
from games.textworld.validation.game_file import SUFFIXES

if TYPE_CHECKING:
    from games.textworld.env import TextWorld

MAX_GAMES = 100_000
RANGE = re.compile(r"([0-9]{1,10})\.\.([0-9]{1,10})")
RANGED = ("level", "seed")  # the parameters that may be ranges. They are the first parameters of every family.
PREFIXES = ("textworld:", *(f"{suite}:" for suite in SUITES))  # the word before such a colon is not a module
AND = " + "  # separates several GAMEs in one string
# Gymnasium id -> class or function of the game
ENTRY_POINTS = {
    "actde/Bandit-v0": BUILT_IN["bandit"],
    "actde/Completion-v0": BUILT_IN["completion"],
    "actde/IPD-v0": BUILT_IN["ipd"],
    "actde/TextWorld-v0": "games.game_strings:make_textworld",
}


def code_in(game: str, judge_reward: str = "") -> set[str]:
    """Return the user's modules and files named in a GAME string or a reward."""
    from games.completion.rewards import parse_reward

    sources, rewards = set[str](), [judge_reward]
    for part in game.split(AND):
        head, _, query = part.strip().partition("?")
        if (head := built_in_name(head)) == "completion":
            rewards.append(split_query(query, head).get("reward", ""))
        elif not head.startswith(PREFIXES) and (source := external_games.source_of(head)):
            sources.add(source)
    terms = [term for reward in rewards if reward for term in parse_reward(reward)]
    return sources | {canonical(term.argument.rpartition(":")[0]) for term in terms if term.kind == "function"}


def resolve_stored(game: str, subject: str) -> list[GameSpec]:
    """Resolve a stored GAME string. Raise GameError if the game needs code that the user has not named.

    The message begins with `subject`, which names the run or agent.
    """
    if unnamed := sorted(code_in(game) - set(named_code())):
        raise GameError(f"{subject} needs code that is imported only if you name it: {', '.join(unnamed)}")
    return resolve(game)


def make_textworld(game: str, **keywords: Any) -> "TextWorld":
    """Make the TextWorld game that a GAME string names."""
    from games.textworld.env import TextWorld

    spec, *further_specs = resolve(game)
    if further_specs or spec.kind not in ("textworld", "file"):
        description = f"{1 + len(further_specs)} games" if further_specs else f"a {spec.kind} game"
        raise GameError(f"game={game!r}: expected one TextWorld game, got {description}")
    return TextWorld(spec.story(), **keywords)


# `gymnasium.make` reads the render modes from the entry point
make_textworld.__dict__["metadata"] = {"render_modes": ["ansi"], "render_fps": 1}


def resolve(game: str, *, split: str | None = None, step_seconds: float | None = None) -> list[GameSpec]:
    """Return the specs of all games that a GAME string names, in order. Raise GameError if the string names no game.

    A GAME string takes one of these forms:

    * `bandit`, `completion` or `ipd`: a built-in game
    * `ipd?payoff=post&start=defect`: a game with settings
    * the path of a game file, of a `manifest.jsonl`, or of a folder of games
    * `textworld:FAMILY?level=1&seed=100..119`: generated TextWorld games, here with a range of seeds
    * `SUITE:NAME?seed=3`: a game of a third-party suite
    * `path/file.py:Guess` and the other forms in `games.external_games`: a Gymnasium environment
    * `bandit + ipd`: several GAME strings, whose games are interleaved evenly

    `split` limits each manifest to the games of one split. `step_seconds` limits the time of each reset and step (see
    `GameSpec`).
    """
    if not isinstance(game, str):
        raise TypeError(f"a GAME is a str, got {type(game).__name__}")
    if step_seconds is not None:
        return [replace(spec, step_seconds=step_seconds) for spec in resolve(game, split=split)]
    if AND in game:
        return interleave([resolve(part.strip(), split=split) for part in game.split(AND)])
    head, _, query = game.partition("?")
    if game.startswith("textworld:"):
        return _resolve_family(head, query)
    if (head := built_in_name(head)) in BUILT_IN:
        return _with_seeds(head, head, resolve_name(BUILT_IN[head]).parameters, query)
    if is_suite_game(game):
        return _with_seeds(head, "suite", suite_class(head).parameters_of(head.partition(":")[2]), query)
    if head.endswith(".py") and Path(head).expanduser().is_file():
        raise GameError(external_games.missing_class_message(head))
    path = Path(game).expanduser()
    if game.strip() and "\0" not in game and path.exists():
        return _resolve_path(path.absolute(), split)
    if not head.startswith(PREFIXES) and (open_game := external_games.find(head)):
        return _with_seeds(open_game, "open", external_games.parameters(open_game), query)
    if external_games.VERSION.search(head) and not Path(head).exists():
        raise GameError(f"{head} is not registered with Gymnasium: name the module or file that does, with --import")
    if head in FAMILIES:
        raise GameError(f"no game is called {game!r}; did you mean 'textworld:{game}'?")
    folder, _, name = head.rpartition(":")
    if "/" in folder and Path(folder).expanduser().is_dir():
        raise GameError(f"{head}: the folder {folder} is no package; import {name} in {folder}/__init__.py")
    if "/" in game or path.suffix in (*SUFFIXES, ".jsonl"):
        raise GameError(f"{game}: no such file or folder")
    candidates = (*BUILT_IN, "textworld", *(f"{suite}:NAME" for suite in SUITES), *(f"textworld:{x}" for x in FAMILIES))
    missing = f"{head}: there is no module {head.partition(':')[0]!r}"
    if CODE.fullmatch(head) and (nearby := find_nearby(head)):
        raise GameError(f"{missing}; name the file: {nearby}")
    if CODE.fullmatch(head) and not did_you_mean(head, candidates):
        raise GameError(f"{missing}; a file is named as path/file.py:Class")
    hint = (
        external_games.missing_class_message(f"{head}.py")
        if Path(f"{head}.py").is_file()
        else nearest(head, candidates)
    )
    raise GameError(f"no game is called {game!r}; {hint}")


def interleave(lists: Sequence[Sequence[GameSpec]]) -> list[GameSpec]:
    """Merge lists of games evenly, without changing the order within a list."""
    placed = [((i + 0.5) / len(specs), n, spec) for n, specs in enumerate(lists) for i, spec in enumerate(specs)]
    return [spec for *_, spec in sorted(placed, key=lambda entry: entry[:2])]


def built_in_name(name: str) -> str:
    """Convert the Gymnasium id or class of a built-in game to the game's short name, such as `bandit`."""
    folder, _, class_name = name.rpartition(":")
    file = Path(folder) / "__init__.py"
    if "/" in folder and file.expanduser().is_file():
        name = f"{file}:{class_name}"  # `path/package:Name` is short for this
    path = ENTRY_POINTS.get(name.rpartition(":")[2], name)
    for short, class_path in BUILT_IN.items():
        if path == class_path:
            return short
    if path.startswith("games.") and not CODE.sub(r"\g<source>", path).endswith(".py"):
        raise GameError(f"{name}: our games are called {', '.join(BUILT_IN)} and textworld:FAMILY")
    return name


def _with_seeds(game: str, kind: str, parameters: Sequence[Parameter], query: str) -> list[GameSpec]:
    """Return one spec per seed. `query` is the text that follows `?` in a GAME string."""
    texts = split_query(query, game)
    seed = next((p for p in parameters if p.name == "seed" and p.kind == "int"), None)
    seeds: Sequence[int | None] = [None]
    if seed is not None and ("seed" in texts or seed.default is not None):
        seeds = _range(seed, texts, game)
        texts = {name: text for name, text in texts.items() if name != "seed"}
    values = parse_settings(parameters, texts, game)
    changed = {p.name: values[p.name] for p in parameters if values.get(p.name, p.default) != p.default}
    specs = []
    for seed_value in seeds:
        settings = changed if seed_value is None else {"seed": seed_value, **changed}
        name = f"{game}?{format_settings(parameters, settings)}".rstrip("?")
        target = "" if kind in BUILT_IN else game
        specs.append(GameSpec(name, cast("Any", kind), target, tuple(settings.items())))
    return specs


def _resolve_family(head: str, query: str) -> list[GameSpec]:
    game_family = family(head.removeprefix("textworld:"))
    texts = split_query(query, head)
    levels, seeds = (_range(parameter, texts, head) for parameter in game_family.parameters[: len(RANGED)])
    if (count := len(levels) * len(seeds)) > MAX_GAMES:
        raise GameError(f"{head}?{query}: {count} games are too many at once (at most {MAX_GAMES})")
    values = parse_settings(
        game_family.parameters, {name: text for name, text in texts.items() if name not in RANGED}, head
    )
    return [
        _family_spec(game_family, level, {"seed": seed, **values}) for level, seed in itertools.product(levels, seeds)
    ]


def _family_spec(game_family: Family, level: int, values: Mapping[str, Value]) -> GameSpec:
    preset = game_family.complete({"level": level})
    settings = {
        "level": level,
        **{name: value for name, value in values.items() if name == "seed" or preset[name] != value},
    }
    ordered = {p.name: settings[p.name] for p in game_family.parameters if p.name in settings}
    name = f"textworld:{game_family.name}?{format_settings(game_family.parameters, ordered)}"
    return GameSpec(name, "textworld", game_family.name, tuple(ordered.items()), level=level)


def _range(parameter: Parameter, texts: Mapping[str, str], game: str) -> Sequence[int]:
    name = parameter.name
    text = texts.get(name, str(parameter.default))
    match = RANGE.fullmatch(text.strip())
    ends = match.groups() if match else (text, text)
    if ".." in text and match is None:
        raise GameError(f"{game}: {name}={text}: expected a whole number or a range, as in {name}=1..20")
    low, high = (int(str(parse_settings((parameter,), {name: end}, game)[name])) for end in ends)
    if low > high:
        raise GameError(f"{game}: {name}={text}: expected a range from low to high")
    return range(low, high + 1)


def _resolve_path(path: Path, split: str | None) -> list[GameSpec]:
    if (path / "manifest.jsonl").is_file():
        path /= "manifest.jsonl"
    if path.suffix == ".jsonl":
        from games.textworld.generation.manifest import load_manifest

        entries = load_manifest(path, split=split)
        return [GameSpec(str(e.path), "file", str(e.path), level=e.level, hash=e.hash) for e in entries]
    if path.is_file() and path.suffix not in SUFFIXES:
        expected = "a game file (.z1 to .z8, .json or .tw-pddl)"
        raise GameError(f"{path}: expected {expected}, a folder of them or a manifest.jsonl")
    if path.is_file():
        stories = [path.with_suffix(".z8") if path.suffix == ".json" else path]
    else:  # in an ALFWorld data folder, the files are TASK/TRIAL/game.tw-pddl
        stories = sorted([*path.glob("*.z[1-8]"), *path.glob("*.tw-pddl")]) or sorted(path.glob("*/*/*.tw-pddl"))
    if not stories and (path / "__init__.py").is_file():
        raise GameError(external_games.missing_class_message(str(path / "__init__.py")))
    if not stories:
        raise GameError(f"{path}: the folder holds no game files (.z1 to .z8 or .tw-pddl) and no manifest.jsonl")
    return [GameSpec(str(story), "file", str(story)) for story in stories]
