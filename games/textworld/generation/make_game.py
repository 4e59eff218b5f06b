"""Generate games and cache their files. The same settings always give the same bytes."""

import hashlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from games import files
from games.cached_folder import build_once
from games.errors import GameError
from games.parameters import format_settings
from games.textworld.generation.families import Values, family
from games.textworld.generation.reserved_seeds import RESERVED
from games.textworld.upstream.compile import compile_story
from games.textworld.upstream.fast_chaining import quicker_chaining
from games.textworld.upstream.rule_simulation import without_compiling
from games.textworld.upstream.start import rule_files_sorted, rules_parsed_once
from games.textworld.validation import game_file, playthrough_check

if TYPE_CHECKING:
    from textworld.generator import Game

RECIPE_VERSION = 1  # a part of the cache's key; increase it if a change of the code gives other games
MAX_ATTEMPTS = 10  # the maximum number of games that are made for one seed to find a sound one
ADVICE = f"free some space, or name a writable folder in the environment variable {files.VARIABLE}"


class FaultyGameError(GameError):
    """TextWorld made a faulty game. Another seed may work."""


def cached_game(family_name: str, values: Values) -> Path:
    """Return the path of a game's `.z8`. Make the game if necessary, and raise GameError if making fails."""
    settings = family(family_name).complete(values)
    stem = f"tw-{family_name}-{files.json_hash([RECIPE_VERSION, version('textworld'), family_name, settings])[:16]}"
    story = files.cache_folder("games") / stem / f"{stem}.z8"

    def build(folder: Path) -> None:
        for attempt in range(MAX_ATTEMPTS):
            try:
                write_game(make_game(family_name, settings, attempt=attempt), folder / story.name)
                return
            except FaultyGameError:
                if attempt == MAX_ATTEMPTS - 1:
                    raise

    with files.disk_errors("write the generated game", ADVICE):
        build_once(story.parent, lambda: _is_sound(story), build)
    return story


def make_game(family_name: str, values: Values, *, attempt: int = 0) -> "Game":
    """Return an uncompiled game. Attempt 0 uses the seed in `values`. Later attempts use other seeds."""
    import textworld
    from textworld.generator import GenerationWarning, QuestGenerationError

    game_family = family(family_name)
    settings = game_family.complete(values)
    uuid = f"textworld:{family_name}?{format_settings(game_family.parameters, settings)}"
    options = textworld.GameOptions()
    seed = cast(int, settings["seed"])
    if attempt:  # a derived seed, below the reserved seeds
        seed = int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0]) % RESERVED.start
    options.seeds = seed
    textworld.g_rng.set_seed(seed)
    try:
        with (
            rules_parsed_once(),
            rule_files_sorted(),
            without_compiling(),
            quicker_chaining(),
            warnings.catch_warnings(action="ignore", category=GenerationWarning),  # adding an adjective to a name warns
        ):
            game = game_family.make(settings, options)
    except GameError:  # also a ValueError
        raise
    except (QuestGenerationError, AssertionError, ValueError) as error:
        advice = f"another seed or fewer steps may work ({str(error).strip() or 'no reason given'})"
        raise GameError(f"{uuid}: TextWorld finds no game with these settings; {advice}") from error
    if not game.metadata.get("walkthrough"):
        raise GameError(f"{uuid}: TextWorld finds no way to win it; another seed may work")
    if settings["goal"] == "none":
        game.objective = ""
    elif settings["goal"] == "brief" and game_family.brief is not None:
        game.objective = game_family.brief(game)
    game.metadata = {
        "actde": {"family": family_name, "settings": dict(settings)},
        "walkthrough": _without_redundant_opens(game),
        "uuid": uuid,
    }
    for quest in game.quests:  # events come from a set, so their order has no meaning
        quest.fail_events = sorted(quest.fail_events, key=lambda event: json.dumps(event.serialize()))
    return game


def write_game(game: "Game", path: Path) -> None:
    """Compile `game` to `path`, and write the game's `.json` to the same folder.

    Raise FaultyGameError if the walkthrough fails, and GameError if the game is too large.
    """
    from textworld.generator.inform7 import generate_inform7_source

    story = game_file.without_date(compile_story(generate_inform7_source(game), game.metadata["uuid"]))
    record = _record(game, hashlib.sha256(story).hexdigest())
    if problem := playthrough_check.find_generation_fault(story, record):
        raise FaultyGameError(f"{game.metadata['uuid']}: TextWorld made a faulty game ({problem}); try another seed")
    files.atomic_write(path.with_suffix(".json"), record)
    files.atomic_write(path, story)


def _record(game: "Game", story_hash: str) -> bytes:
    """Return the bytes of the game's `.json`. `story_hash` is the SHA-256 of the `.z8`."""
    data = json.loads(json.dumps(game.serialize()))
    data["grammar"]["names_to_exclude"] = sorted(data["grammar"].get("names_to_exclude", ()), key=str)
    data["KB"]["text_grammars_path"] = ""
    data["metadata"]["actde"]["story"] = story_hash
    data["metadata"]["actde"]["record"] = game_file.record_hash(data)
    return json.dumps(data).encode()


def canonical_hash(game: "Game") -> str:
    """Return a hash of a game's facts, names and quests."""
    names = {key: info.name or key for key, info in game.infos.items()}

    def fact_lists(facts: Any) -> list[list[str]]:
        return sorted(
            [fact.name, *(names.get(argument.name, argument.name) for argument in fact.arguments)] for fact in facts
        )

    def event_lists(events: Any) -> list[list[list[str]]]:
        return sorted(fact_lists(event.condition.preconditions) for event in events)

    quests = sorted(
        [[[str(quest.reward)]], event_lists(quest.win_events), event_lists(quest.fail_events)] for quest in game.quests
    )
    typed_names = sorted([info.type, names[key]] for key, info in game.infos.items())
    return files.json_hash([fact_lists(game.world.facts), typed_names, quests])


def _without_redundant_opens(game: "Game") -> list[str]:
    is_open = {game.infos[fact.arguments[0].name].name for fact in game.world.facts if fact.name == "open"}
    commands = []
    for command in game.metadata["walkthrough"]:
        verb, _, thing = command.partition(" ")
        if verb == "open" and thing in is_open:  # not admissible; cooking games contain such commands
            continue
        if verb in ("open", "close"):
            (is_open.add if verb == "open" else is_open.discard)(thing)
        commands.append(command)
    return commands


def _is_sound(story: Path) -> bool:
    try:
        return game_file.check(story) == game_file.OURS
    except GameError:
        return False
