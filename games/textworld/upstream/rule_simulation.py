"""A walkthrough played on TextWorld's rules alone: which action each command is, without compiling the game.

TextWorld's makers compile a game and play it only to write the actions of its walkthrough into its quests, which
costs as much as compiling the finished game. `without_compiling` finds the same actions by the rules. Whatever
the rules leave open is left to TextWorld's own way. The interpreter and its text are left out (`playthrough_check.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


class UnsureError(Exception):
    """The rules do not say what the interpreter would do."""


class Rehearsal:
    """One game, played from its beginning by its rules.

    A step tries only the rules whose wording fits, because trying all of them is what makes TextWorld's own
    tracking slow. What it answers is TextWorld's answer: of the actions that the interpreter would report by the
    same words, the first with the most preconditions.
    """

    def __init__(self, game: Any) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._kb, self._inform7 = game.kb, Inform7Game(game)
        self.state = game.world.state.copy()

    def step(self, command: str) -> tuple[Any, str]:
        """The action that `command` is, and the interpreter's name of what happened; (None, '') where it is none."""
        actions = [
            action
            for action in self._applicable(self._kb.inform7_commands, command)
            if self._inform7.gen_commands_from_actions([action]) == [command]
        ]
        events = {self._event(action) for action in actions}
        if not events:
            return None, ""
        if len(events) > 1:
            raise UnsureError(f"{command!r} may be any of {sorted(events)}")
        (event,) = events
        action = self._inform7.detect_action(event, self._applicable(self._kb.inform7_events, event))
        self.state.apply(action)
        return action, event

    def is_open(self, name: str) -> bool:
        """Whether all doors and containers of that name are open."""
        infos = self._inform7.entity_infos
        of_that_name = {key for key, info in infos.items() if info.name == name}
        is_open = {fact.arguments[0].name for fact in self.state.facts if fact.name == "open"}
        return bool(of_that_name) and of_that_name <= is_open

    def _applicable(self, templates: Mapping[str, str], text: str) -> list[Any]:
        """The actions of all rules of which the template may read `text`, in the order of the rules."""
        rules = [rule for rule in self._kb.rules.values() if _fits(templates[rule.name], text)]
        return list(self.state.all_applicable_actions(rules, self._kb.types.constants_mapping))

    def _event(self, action: Any) -> str:
        template: str = self._kb.inform7_events[action.name]
        return template.format(**self._inform7._get_name_mapping(action)).lower()


def _fits(template: str, text: str) -> bool:
    return _pattern(template).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    """`take {o} from {c}` as a pattern in which each thing may be any words."""
    return re.compile(".+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template)), re.IGNORECASE)


@contextmanager
def without_compiling() -> Iterator[None]:
    """Inside the block, TextWorld's `GameMaker.set_walkthrough` rehearses where it would compile and play."""
    from textworld import GameMaker

    compiling = GameMaker.set_walkthrough

    def rehearsing(maker: Any, commands: Sequence[str]) -> None:
        game = maker.build()
        assert game.objective is not None  # reading it words it, as compiling would
        try:
            found = _events(game, commands)
        except UnsureError:
            maker.build = lambda validate=True: game
            try:
                compiling(maker, commands)
            finally:
                del maker.build
            return
        for event, actions in found:
            event.actions, event.commands = actions, commands[: len(actions)]

    GameMaker.set_walkthrough = rehearsing
    try:
        yield
    finally:
        GameMaker.set_walkthrough = compiling


def _events(game: Any, commands: Sequence[str]) -> list[tuple[Any, list[Any]]]:
    """Each event of winning and the actions up to it; of equal events only the first, as TextWorld does it."""
    from textworld.generator.game import QuestProgression

    firsts: dict[Any, Any] = {event: event for quest in game.quests for event in quest.win_events}
    if any(event.actions for event in firsts):
        raise UnsureError("a quest has actions already")
    rehearsal, actions, found = Rehearsal(game), [], {}
    quests = [QuestProgression(quest, game.kb) for quest in game.quests]
    for quest in quests:
        quest.update(None, rehearsal.state)
    for command in commands:
        if _over(quests):
            raise UnsureError("the game ends before its walkthrough")
        waiting = [event for quest in quests for event in quest.win_events if not event.triggered]
        action, _ = rehearsal.step(command)
        if action is not None:
            actions.append(action)
            for quest in quests:
                quest.update(action, rehearsal.state)
        elif actions and command.startswith("open ") and rehearsal.is_open(command.removeprefix("open ")):
            actions.append(actions[-1])  # nothing happens, and TextWorld takes what happened last for it
        else:
            raise UnsureError(f"{command!r} is no action")
        found.update({event.event: list(actions) for event in waiting if event.triggered})
    return [(first, found[first]) for first in firsts.values() if first in found]


def _over(quests: Sequence[Any]) -> bool:
    needed = [quest for quest in quests if not quest.quest.optional]
    return all(q.completed for q in needed if q.completable) or any(q.failed for q in needed)
