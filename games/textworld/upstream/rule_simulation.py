"""Find a walkthrough's actions without compiling the game, unlike `GameMaker.set_walkthrough` of TextWorld 1.7.0."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from games.textworld.upstream import patched, patches_enabled
from games.textworld.upstream.start import trace_name


class AmbiguousRulesError(Exception):
    """The rules alone do not determine what the interpreter would do."""


class RuleSimulation:
    """Plays one game by TextWorld's rules, without an interpreter."""

    def __init__(self, game: Any) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._kb, self._inform7 = game.kb, Inform7Game(game)
        self.state = game.world.state.copy()

    def step(self, command: str) -> tuple[Any, str]:
        """Play `command`. Return (action, name of the action), or (None, "") if no action fits.

        Raise AmbiguousRulesError if several actions with different names fit.
        """
        actions = [
            action
            for action in self._applicable_actions(self._kb.inform7_commands, command)
            if self._inform7.gen_commands_from_actions([action]) == [command]
        ]
        events = {trace_name(self._inform7, self._kb.inform7_events, action) for action in actions}
        if not events:
            return None, ""
        if len(events) > 1:
            raise AmbiguousRulesError(f"{command!r} may be any of {sorted(events)}")
        (event,) = events
        action = self._inform7.detect_action(event, self._applicable_actions(self._kb.inform7_events, event))
        self.state.apply(action)
        return action, event

    def is_open(self, name: str) -> bool:
        """Return whether things called `name` exist and are all open."""
        keys = {key for key, info in self._inform7.entity_infos.items() if info.name == name}
        is_open = {fact.arguments[0].name for fact in self.state.facts if fact.name == "open"}
        return bool(keys) and keys <= is_open

    def _applicable_actions(self, templates: Mapping[str, str], text: str) -> list[Any]:
        rules = [rule for rule in self._kb.rules.values() if _pattern(templates[rule.name]).fullmatch(text)]
        return list(self.state.all_applicable_actions(rules, self._kb.types.constants_mapping))


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(".+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template)), re.IGNORECASE)


def without_compiling() -> AbstractContextManager[None]:
    """Inside the `with` block, `GameMaker.set_walkthrough` compiles a game only if the game's rules are ambiguous."""
    if not patches_enabled():
        return nullcontext()
    from textworld import GameMaker

    original = GameMaker.set_walkthrough

    def set_walkthrough(maker: Any, commands: Sequence[str]) -> None:
        game = maker.build()
        assert game.objective is not None  # reading the property generates the objective's text, as compiling would
        try:
            simulated = _simulate(game, commands)
        except AmbiguousRulesError:
            maker.build = lambda validate=True: game
            try:
                original(maker, commands)
            finally:
                del maker.build
            return
        for event, actions in simulated:
            event.actions, event.commands = actions, commands[: len(actions)]

    return patched(GameMaker, set_walkthrough=set_walkthrough)


def _simulate(game: Any, commands: Sequence[str]) -> list[tuple[Any, list[Any]]]:
    """Play the commands. Return (winning event, actions up to the event) for each triggered event."""
    from textworld.generator.game import QuestProgression

    unique_events = dict.fromkeys(event for quest in game.quests for event in quest.win_events)
    if any(event.actions for event in unique_events):
        raise AmbiguousRulesError("a quest has actions already")
    simulation, actions, actions_by_event = RuleSimulation(game), [], {}
    quests = [QuestProgression(quest, game.kb) for quest in game.quests]
    for quest in quests:
        quest.update(None, simulation.state)
    for command in commands:
        if _is_over(quests):
            raise AmbiguousRulesError("the game ends before its walkthrough")
        untriggered_events = [event for quest in quests for event in quest.win_events if not event.triggered]
        action, _ = simulation.step(command)
        if action is not None:
            actions.append(action)
            for quest in quests:
                quest.update(action, simulation.state)
        elif actions and command.startswith("open ") and simulation.is_open(command.removeprefix("open ")):
            actions.append(actions[-1])  # nothing happens, and TextWorld records the last action again
        else:
            raise AmbiguousRulesError(f"{command!r} is no action")
        actions_by_event.update({event.event: list(actions) for event in untriggered_events if event.triggered})
    return [(event, actions_by_event[event]) for event in unique_events if event in actions_by_event]


def _is_over(quests: Sequence[Any]) -> bool:
    required_quests = [quest for quest in quests if not quest.quest.optional]
    return all(quest.completed for quest in required_quests if quest.completable) or any(
        quest.failed for quest in required_quests
    )
