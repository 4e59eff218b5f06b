"""One generated game: from settings to a pair of files, `tw-NAME.z8` and `tw-NAME.json`, and the cache of them.

The same settings give the same bytes in any process, on any day: whatever TextWorld leaves to the order of a
set, the clock or the place of its installation is put into a fixed form first. Curricula of many games are
`games/textworld/generation/dataset.py`; what families and levels mean is `games/textworld/generation/families.py`.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from games import files
from games.errors import GameError
from games.textworld.generation.families import FAMILIES, Values, family
from games.textworld.generation.reserved_seeds import RESERVED
from games.textworld.upstream.compile import compile_story
from games.textworld.upstream.fast_chaining import quicker_chaining
from games.textworld.upstream.rule_simulation import without_compiling
from games.textworld.upstream.start import rules_parsed_once
from games.textworld.validation import game_file, playthrough_check

if TYPE_CHECKING:
    from textworld.generator import Game

RECIPE = 1
"""Raise it when the same settings come to mean other games: cached ones are then made anew."""
ATTEMPTS = 10
"""Of a seed whose game is faulty other seeds are drawn; so many games in all are tried."""
ADVICE = f"free some space, or name a writable folder in the environment variable {files.VARIABLE}"


class FaultyGameError(GameError):
    """TextWorld made a game that its own walkthrough does not win; of other seeds it makes sound ones."""


def cached_game(name: str, values: Values) -> Path:
    """The `.z8` of the game of family `name` with these settings, made now unless the cache has it.

    Several processes may ask at once: one makes the game, the others wait for it. A damaged copy in the cache
    is made anew. Where the seed's own game is faulty, it is the first sound one of seeds drawn from it. GameError where
    the settings allow no game or the cache cannot be written.
    """
    settings = family(name).complete(values)
    story = _place(name, settings)

    def build(folder: Path) -> None:
        _write_sound(name, settings, folder / story.name)

    with files.disk_errors("write the generated game", ADVICE):
        files.build_once(story.parent, lambda: _usable(story), build)
    return story


def _place(name: str, settings: Values) -> Path:
    """Where the cache keeps the game with these settings, presets filled in."""
    stem = f"tw-{name}-{_digest([RECIPE, version('textworld'), name, settings])[:16]}"
    return files.cache_folder("games") / stem / f"{stem}.z8"


def _write_sound(name: str, settings: Values, path: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            write_game(make_game(name, settings, attempt=attempt), path)
            return
        except FaultyGameError:
            if attempt == ATTEMPTS - 1:
                raise


def make_game(name: str, values: Values, *, attempt: int = 0) -> Game:
    """TextWorld's game for these settings, in canonical form, with a walkthrough, not yet compiled.

    `attempt` 0 is the seed's own game, those after it are of seeds drawn from it.
    """
    import textworld
    from textworld.generator import GenerationWarning, QuestGenerationError

    chosen = family(name)
    settings = chosen.complete(values)
    options = textworld.GameOptions()
    seed = cast(int, settings["seed"])
    if attempt:
        seed = _drawn(seed, attempt)
    options.seeds = seed
    textworld.g_rng.set_seed(seed)
    try:
        with rules_parsed_once(), without_compiling(), quicker_chaining(), warnings.catch_warnings():
            warnings.simplefilter("ignore", GenerationWarning)  # a name got an adjective
            game = chosen.make(settings, options)
    except (QuestGenerationError, AssertionError, ValueError) as error:
        if isinstance(error, GameError):
            raise
        why = f"another seed or fewer steps may work ({str(error).strip() or 'no reason given'})"
        raise GameError(f"{_spell(name, settings)}: TextWorld finds no game with these settings; {why}") from error
    if not game.metadata.get("walkthrough"):
        raise GameError(f"{_spell(name, settings)}: TextWorld finds no way to win it; another seed may work")
    if settings["goal"] == "none":
        game.objective = ""
    elif settings["goal"] == "brief" and chosen.brief is not None:
        game.objective = chosen.brief(game)
    game.metadata = {
        "actde": {"family": name, "settings": dict(settings)},
        "walkthrough": _without_idle(game),
        "uuid": _spell(name, settings),
    }
    _settle(game)
    return game


def _drawn(seed: int, attempt: int) -> int:
    """A seed below the reserved ones."""
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0]) % RESERVED.start


def write_game(game: Game, path: Path) -> None:
    """Compile `game` to `path` (`.z8`) and write its `.json` beside it, each whole or not at all.

    FaultyGameError where its walkthrough does not win it when played, GameError where it is too large for a game file.
    """
    from textworld.generator.inform7 import generate_inform7_source

    story = game_file.without_date(compile_story(generate_inform7_source(game), game.metadata["uuid"]))
    record = _record(game, hashlib.sha256(story).hexdigest())
    problem = playthrough_check.find_own_problem(story, record)
    if problem:
        raise FaultyGameError(f"{game.metadata['uuid']}: TextWorld made a faulty game ({problem}); try another seed")
    files.atomic_write(path.with_suffix(".json"), record)
    files.atomic_write(path, story)


def _record(game: Game, story: str) -> bytes:
    """The game's `.json`, with its and its story's hash, without the order of sets and the place of TextWorld."""
    data = json.loads(json.dumps(game.serialize()))
    data["grammar"]["names_to_exclude"] = sorted(data["grammar"].get("names_to_exclude", ()), key=str)
    data["KB"]["text_grammars_path"] = ""
    data["metadata"]["actde"]["story"] = story
    data["metadata"]["actde"]["record"] = game_file.record_hash(data)
    return json.dumps(data).encode()


def canonical_hash(game: Game) -> str:
    """A hash of what happens in a game: its facts, names and quests, whatever the order they are listed in.

    Prose, the wording of the objective, ids and seeds do not count: two games with one hash play alike.
    """
    names = {key: info.name or key for key, info in game.infos.items()}

    def spell(facts: Any) -> list[list[str]]:
        return sorted([fact.name, *(names.get(v.name, v.name) for v in fact.arguments)] for fact in facts)

    def events(group: Any) -> list[list[list[str]]]:
        return sorted(spell(event.condition.preconditions) for event in group)

    quests = sorted([[[str(q.reward)]], events(q.win_events), events(q.fail_events)] for q in game.quests)
    kinds = sorted([info.type, names[key]] for key, info in game.infos.items())
    return _digest([spell(game.world.facts), kinds, quests])


def _without_idle(game: Game) -> list[str]:
    """The walkthrough without opening what is open: cooking's own does that, and such a command is not admissible."""
    names = {key: info.name for key, info in game.infos.items()}
    is_open = {names.get(fact.arguments[0].name) for fact in game.world.facts if fact.name == "open"}
    commands = []
    for command in game.metadata["walkthrough"]:
        verb, _, thing = command.partition(" ")
        if verb == "open" and thing in is_open:
            continue
        if verb in ("open", "close"):
            (is_open.add if verb == "open" else is_open.discard)(thing)
        commands.append(command)
    return commands


def _settle(game: Game) -> None:
    """Put what TextWorld draws from sets into a fixed order; the events of a quest exclude each other."""
    for quest in game.quests:
        quest.fail_events = sorted(quest.fail_events, key=lambda event: json.dumps(event.serialize()))


def _usable(story: Path) -> bool:
    if not story.exists():
        return False
    try:
        return game_file.check(story) == game_file.OURS
    except GameError:
        return False


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _spell(name: str, settings: Mapping[str, Any]) -> str:
    from games.parameters import format_settings

    return f"textworld:{name}?{format_settings(FAMILIES[name].table, settings)}"
