"""Find the action of each command of a walkthrough by simulating TextWorld's rules, without compiling the game.

TextWorld's `GameMaker.set_walkthrough` writes the actions of a walkthrough into the quests of a game. To find them,
TextWorld compiles the game and plays it. `without_compiling` finds the same actions by simulating the rules, or calls
TextWorld's own method if the rules are ambiguous.
"""

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
    """Simulates one game with TextWorld's rules, from the start of the game.

    Several actions can have the same trace (the name that the interpreter prints). As in TextWorld, one with the most
    preconditions is played, and the first one in case of a tie.
    """

    def __init__(self, game: Any) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._kb, self._inform7 = game.kb, Inform7Game(game)
        self.state = game.world.state.copy()

    def step(self, command: str) -> tuple[Any, str]:
        """Play `command`. Return a tuple (action, its trace), or (None, "") if no action fits.

        Raise AmbiguousRulesError if the command fits actions with different traces.
        """
        actions = [
            action
            for action in self._applicable(self._kb.inform7_commands, command)
            if self._inform7.gen_commands_from_actions([action]) == [command]
        ]
        events = {trace_name(self._inform7, self._kb.inform7_events, action) for action in actions}
        if not events:
            return None, ""
        if len(events) > 1:
            raise AmbiguousRulesError(f"{command!r} may be any of {sorted(events)}")
        (event,) = events
        action = self._inform7.detect_action(event, self._applicable(self._kb.inform7_events, event))
        self.state.apply(action)
        return action, event

    def is_open(self, name: str) -> bool:
        """Return whether all entities with this name are open. Return False if no entity has this name."""
        keys = {key for key, info in self._inform7.entity_infos.items() if info.name == name}
        is_open = {fact.arguments[0].name for fact in self.state.facts if fact.name == "open"}
        return bool(keys) and keys <= is_open

    def _applicable(self, templates: Mapping[str, str], text: str) -> list[Any]:
        """Return the applicable actions of all rules whose template matches `text`, in the order of the rules.

        `text` is a command or a trace. `templates` maps each rule's name to the template of its commands or traces.
        """
        rules = [rule for rule in self._kb.rules.values() if _pattern(templates[rule.name]).fullmatch(text)]
        return list(self.state.all_applicable_actions(rules, self._kb.types.constants_mapping))


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    """Return a pattern for a template such as `take {o} from {c}`. Each placeholder matches any words."""
    return re.compile(".+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template)), re.IGNORECASE)


def without_compiling() -> AbstractContextManager[None]:
    """Return a context manager in which TextWorld's `GameMaker.set_walkthrough` does not compile the game.

    The method simulates the rules instead, or compiles the game after all if the rules are ambiguous.
    """
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
    """Simulate the walkthrough. Return a tuple (event, actions) for each winning event that it triggers.

    `actions` are all actions up to the one that triggers the event. As in TextWorld, only the first of several equal
    events is listed. Raise AmbiguousRulesError if the rules do not determine the actions.
    """
    from textworld.generator.game import QuestProgression

    firsts: dict[Any, Any] = {event: event for quest in game.quests for event in quest.win_events}
    if any(event.actions for event in firsts):
        raise AmbiguousRulesError("a quest has actions already")
    simulation, actions, actions_of = RuleSimulation(game), [], {}
    quests = [QuestProgression(quest, game.kb) for quest in game.quests]
    for quest in quests:
        quest.update(None, simulation.state)
    for command in commands:
        if _over(quests):
            raise AmbiguousRulesError("the game ends before its walkthrough")
        waiting = [event for quest in quests for event in quest.win_events if not event.triggered]
        action, _ = simulation.step(command)
        if action is not None:
            actions.append(action)
            for quest in quests:
                quest.update(action, simulation.state)
        elif actions and command.startswith("open ") and simulation.is_open(command.removeprefix("open ")):
            actions.append(actions[-1])  # nothing happens, and TextWorld records the last action again
        else:
            raise AmbiguousRulesError(f"{command!r} is no action")
        actions_of.update({event.event: list(actions) for event in waiting if event.triggered})
    return [(first, actions_of[first]) for first in firsts.values() if first in actions_of]


def _over(quests: Sequence[Any]) -> bool:
    needed = [quest for quest in quests if not quest.quest.optional]
    return all(q.completed for q in needed if q.completable) or any(q.failed for q in needed)
