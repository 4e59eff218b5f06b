"""TextWorld's record of a game, followed from moment to moment: facts, admissible commands, the winning policy.

The same rules as `textworld.generator.game.GameProgression` and its parts, in another form: a `GameState` is never
changed, shares what it has in common with the one before, and says in `key` all that its future depends on. What
a rule allows is found in `rule_matching.py`, how far the quests are in `quest_progress.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from games.textworld.transitions.quest_progress import Quest, Quests
from games.textworld.transitions.rule_matching import Kinds, RuleMatcher, Tables

if TYPE_CHECKING:
    from textworld.generator import Game
    from textworld.logic import Action, Proposition

MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class GameState:
    """Where a game stands by its record."""

    kinds: Kinds
    """The facts by signature."""
    facts_key: int
    """A sum over the facts, so that it does not depend on their order."""
    actions: tuple[tuple[Action, ...], ...]
    """What each rule allows now, in the order of the rules."""
    quests: tuple[Quest, ...]
    key: bytes
    """All that the future of the record depends on."""


class Tracker:
    """Follows the record of one game. With `policies` also the way that wins, as TextWorld tracks it."""

    def __init__(self, game: Game, *, policies: bool) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._inform7, self._kb = Inform7Game(game), game.kb
        self._tables = Tables()
        self._rules = [RuleMatcher(rule, game.kb, self._tables) for rule in game.kb.rules.values()]
        self._commands: dict[int, tuple[str, Action]] = {}
        self._events: dict[int, tuple[str, Action]] = {}
        names = game.kb.inform7_events
        self._beginnings = [names.get(name, "").partition("{")[0].lower() for name in game.kb.rules]
        """How the traces of each rule's actions begin, in the order of the rules."""
        self._quests = Quests(game, policies=policies)
        facts: dict[Any, set[Any]] = {}
        for fact in game.world.facts:
            facts.setdefault(fact.signature, set()).add(fact)
        kinds = {signature: frozenset(some) for signature, some in facts.items()}
        total = sum(map(_fact_key, game.world.facts)) % MODULUS
        self.start = self._standing(kinds, total, self._allowed(kinds, None, ()), self._quests.start(kinds))

    def after(self, standing: GameState, events: Iterable[str]) -> GameState:
        """Where the game stands when the interpreter has reported `events` (names of actions, as traced)."""
        for event in events:
            action = self._detect(event, standing.actions)
            if action is not None:
                standing = self._play(standing, action)
        return standing

    def forget(self) -> None:
        """Forget what was worked out for standings that may not come again; only time is lost."""
        self._quests.forget()
        self._tables.forget()
        for rule in self._rules:
            rule.forget()

    def admissible(self, standing: GameState) -> tuple[str, ...]:
        """The admissible commands, sorted."""
        return tuple(sorted({self._command(action) for some in standing.actions for action in some}))

    def policy(self, standing: GameState) -> tuple[str, ...] | None:
        """The commands that win from here; None where TextWorld knows none (nor where the game is over)."""
        return self._quests.policy(standing.quests)

    def _play(self, standing: GameState, action: Action) -> GameState:
        """The record after one action (GameProgression.update)."""
        kinds, total = dict(standing.kinds), standing.facts_key
        changed = set()
        for fact in action.added:
            before = kinds.get(fact.signature, frozenset())
            if fact not in before:
                kinds[fact.signature] = before | {fact}
                total += _fact_key(fact)
                changed.add(fact.signature)
        for fact in action.removed:
            kinds[fact.signature] = kinds[fact.signature] - {fact}
            total -= _fact_key(fact)
            changed.add(fact.signature)
        actions = self._allowed(kinds, changed, standing.actions)
        quests = self._quests.after(standing.quests, action, kinds)
        return self._standing(kinds, total % MODULUS, actions, quests)

    def _standing(self, kinds: Kinds, total: int, actions: Any, quests: tuple[Quest, ...]) -> GameState:
        key = hashlib.blake2b(total.to_bytes(16, "big"), digest_size=16)
        for quest in quests:
            key.update(quest.key)
        return GameState(kinds, total, actions, quests, key.digest())

    def _allowed(self, kinds: Kinds, changed: set[Any] | None, before: Sequence[tuple[Action, ...]]) -> Any:
        """What each rule allows; rules that ask for nothing that has changed allow what they did."""
        logic = self._kb.logic
        return tuple(
            rule.actions(logic, kinds) if changed is None or rule.asks & changed or rule.free else before[place]
            for place, rule in enumerate(self._rules)
        )

    def _command(self, action: Action) -> str:
        """An action's command."""
        known = self._commands.get(id(action))
        if known is None:  # the action is kept as well, so that its id stays its own
            known = self._commands[id(action)] = (self._inform7.gen_commands_from_actions([action])[0], action)
        return known[0]

    def _traced(self, action: Action) -> str:
        """The name under which the interpreter traces an action."""
        known = self._events.get(id(action))
        if known is None:
            name = self._kb.inform7_events[action.name].format(**self._inform7._get_name_mapping(action))
            known = self._events[id(action)] = (name.lower(), action)
        return known[0]

    def _detect(self, event: str, allowed: Sequence[tuple[Action, ...]]) -> Action | None:
        """The action that an event of the trace stands for: of several the one with most preconditions, the first
        of those (Inform7Game.detect_action)."""
        name, best = event.lower(), None
        for beginning, some in zip(self._beginnings, allowed, strict=True):
            if not name.startswith(beginning):
                continue
            for action in some:
                better = best is None or len(action.preconditions) > len(best.preconditions)
                if better and self._traced(action) == name:
                    best = action
        return best


@lru_cache(maxsize=100_000)
def _fact_key(fact: Proposition) -> int:
    return int.from_bytes(hashlib.blake2b(str(fact).encode(), digest_size=16).digest(), "big")
