"""Check that a game's `.json` agrees with the `.z8` and with TextWorld's rules."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from games.errors import GameError
from games.textworld.upstream.compile import compile_story
from games.textworld.upstream.start import load_record
from games.textworld.validation import game_file

if TYPE_CHECKING:
    from textworld.generator import Game

Fact = tuple[str, ...]  # the name of a fact and the ids of its arguments


def find_damage(story: Path) -> str:
    """Return why the two files of a game disagree, or an empty string."""
    game = load_record(story)
    return _check_rules(game) or _check_actions(game) or _check_facts(game) or _check_story(game, story)


def _check_rules(game: "Game") -> str:
    import textworld

    def lines(texts: Iterable[str]) -> list[str]:
        return sorted(line.strip() for text in texts for line in text.split("\n") if line.strip())

    rules = lines([game.kb.logic.serialize()])
    folders = {file.parent for file in Path(textworld.__file__).parent.rglob("*.twl")}
    if any(rules == lines(file.read_text("utf-8") for file in folder.glob("*.twl")) for folder in folders):
        return ""
    return f"its rules are not those of TextWorld {version('textworld')}"


def _check_actions(game: "Game") -> str:
    types = {key: info.type for key, info in game.infos.items()}
    names = types.keys() | {argument.name for fact in game.world.facts for argument in fact.arguments}
    for quest in game.quests:
        for event in (*quest.win_events, *quest.fail_events):
            for action in (*event.actions, event.condition):
                facts = (*action.preconditions, *action.postconditions)
                types_by_name = {
                    argument.name: argument.type
                    for fact in facts
                    for argument in fact.arguments
                    if fact.name != "event"
                }
                if any(name not in names or types.get(name, type_) != type_ for name, type_ in types_by_name.items()):
                    return f"the action {action.name!r} of a quest refers to things that are not in the game"
            for action in event.actions:
                rule = game.kb.logic.rules.get(action.name)
                mapping = None if rule is None else rule.match(action)
                if mapping is None or rule.instantiate(mapping).command_template != action.command_template:
                    return f"the action {action.name!r} of a quest follows no rule"
    return ""


def _check_facts(game: "Game") -> str:
    """Check the facts that the compiled game does not contain: free exits, slots and ingredients."""
    facts = {(fact.name, *(argument.name for argument in fact.arguments)) for fact in game.world.facts}
    if {fact[1:] for fact in facts if fact[0] == "free" and len(fact) == 3} != _free_exits(facts):
        return "which ways are free does not follow from its doors"
    slots = {fact[1] for fact in facts if fact[0] == "free" and len(fact) == 2}
    if slots != {f"slot_{number}" for number in range(len(slots))}:
        return "its slots are not numbered"
    numbers = {f"ingredient_{number}": f"ingredient_{number + 1}" for number in range(len(facts))}
    expected = {(numbers.get(fact[2], fact[2]), fact[1]) for fact in facts if fact[0] == "base"}
    if {fact for fact in facts if fact[0].startswith("ingredient_")} != expected:
        return "its ingredients are not those of its recipe"
    return ""


def _free_exits(facts: set[Fact]) -> set[Fact]:
    """Return all pairs of neighbouring rooms that no closed door separates, in both orders."""
    pairs = {fact[1:] for fact in facts if fact[0].endswith("_of") and len(fact) == 3}
    doors = {(fact[1], fact[3]): fact[2] for fact in facts if fact[0] == "link"}
    open_doors = {fact[1] for fact in facts if fact[0] == "open"}
    neighbours = pairs | {(b, a) for a, b in pairs}
    return {pair for pair in neighbours if pair not in doors or doors[pair] in open_doors}


def _check_story(game: "Game", story: Path) -> str:
    from textworld.generator.inform7 import generate_inform7_source

    try:
        story_bytes = compile_story(generate_inform7_source(game), story.name)
    except GameError:
        return "it cannot be compiled"
    if game_file.without_date(story_bytes) != game_file.without_date(story.read_bytes()):
        return f"TextWorld {version('textworld')} compiles it to another game"
    return ""
