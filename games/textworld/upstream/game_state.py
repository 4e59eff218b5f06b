"""Track the facts, actions and quests of a game as an immutable value.

This replaces `GameProgression` and `Inform7Game.detect_action` of TextWorld 1.7.0. TextWorld's objects change in place
and cannot be stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from games.textworld.upstream.quest_progress import QuestProgress, QuestTracker
from games.textworld.upstream.rule_matching import FactsBySignature, FactTables, RuleMatcher
from games.textworld.upstream.start import trace_name

if TYPE_CHECKING:
    from textworld.generator import Game
    from textworld.logic import Action, Proposition

MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class GameState:
    """The facts, applicable actions and quests of a game."""

    facts_by_signature: FactsBySignature
    facts_hash: int  # the sum of the hashes of all facts, modulo 2^128
    actions: tuple[tuple[Action, ...], ...]  # for each rule, in the order of the rules
    quests: tuple[QuestProgress, ...]
    key: bytes  # a hash of everything that affects later states


class Tracker:
    """Tracks the state of one game. With `policies`, it also computes the commands that win."""

    def __init__(self, game: Game, *, policies: bool) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._inform7, self._kb = Inform7Game(game), game.kb
        self._tables = FactTables()
        self._rules = [RuleMatcher(rule, game.kb, self._tables) for rule in game.kb.rules.values()]
        self._commands: dict[int, tuple[str, Action]] = {}
        self._traces: dict[int, tuple[str, Action]] = {}
        self._quests = QuestTracker(game, policies=policies)
        groups: dict[Any, set[Any]] = {}
        for fact in game.world.facts:
            groups.setdefault(fact.signature, set()).add(fact)
        facts = {signature: frozenset(group) for signature, group in groups.items()}
        total = sum(map(_fact_hash, game.world.facts)) % MODULUS
        quests = self._quests.advance(self._quests.quests, None, facts)
        self.start = self._state(facts, total, self._applicable(facts, None, ()), quests)

    def advance(self, state: GameState, events: Iterable[str]) -> GameState:
        """Return the state after the actions in `events`, which the interpreter has reported."""
        for event in events:
            action = self._detect(event, state.actions)
            if action is not None:
                state = self._apply(state, action)
        return state

    def clear_caches(self) -> None:
        self._commands.clear()
        self._traces.clear()
        self._quests.clear_caches()
        self._tables.clear_cache()
        for rule in self._rules:
            rule.clear_cache()

    def admissible_commands(self, state: GameState) -> tuple[str, ...]:
        return tuple(sorted({self._command(action) for actions in state.actions for action in actions}))

    def policy_commands(self, state: GameState) -> tuple[str, ...] | None:
        """Return the commands that win, or None if the game is over or none are known."""
        return self._quests.policy_commands(state.quests)

    def _apply(self, state: GameState, action: Action) -> GameState:
        """Reimplement TextWorld's `GameProgression.update`."""
        facts, total = dict(state.facts_by_signature), state.facts_hash
        changed = {fact.signature for fact in action.removed}
        for fact in action.added:
            before = facts.get(fact.signature, frozenset())
            if fact not in before:
                facts[fact.signature] = before | {fact}
                total += _fact_hash(fact)
                changed.add(fact.signature)
        for fact in action.removed:
            facts[fact.signature] = facts[fact.signature] - {fact}
            total -= _fact_hash(fact)
        actions = self._applicable(facts, changed, state.actions)
        quests = self._quests.advance(state.quests, action, facts)
        return self._state(facts, total % MODULUS, actions, quests)

    def _state(self, facts: FactsBySignature, total: int, actions: Any, quests: tuple[QuestProgress, ...]) -> GameState:
        key = hashlib.blake2b(total.to_bytes(16, "big"), digest_size=16)
        for quest in quests:
            key.update(quest.key)
        return GameState(facts, total, actions, quests, key.digest())

    def _applicable(
        self, facts: FactsBySignature, changed: set[Any] | None, before: Sequence[tuple[Action, ...]]
    ) -> tuple[tuple[Action, ...], ...]:
        """Return the actions of each rule. A rule without `changed` signatures keeps its actions in `before`."""
        logic = self._kb.logic
        return tuple(
            rule.actions(logic, facts) if changed is None or rule.signatures & changed or rule.unbound else before[i]
            for i, rule in enumerate(self._rules)
        )

    def _command(self, action: Action) -> str:
        if id(action) not in self._commands:  # stores the action too, so that Python does not reuse its id
            self._commands[id(action)] = (self._inform7.gen_commands_from_actions([action])[0], action)
        return self._commands[id(action)][0]

    def _trace(self, action: Action) -> str:
        if id(action) not in self._traces:
            self._traces[id(action)] = (trace_name(self._inform7, self._kb.inform7_events, action), action)
        return self._traces[id(action)][0]

    def _detect(self, event: str, actions_by_rule: Sequence[tuple[Action, ...]]) -> Action | None:
        """Reimplement TextWorld's `Inform7Game.detect_action`."""
        fitting = (a for actions in actions_by_rule for a in actions if self._trace(a) == event.lower())
        return max(fitting, key=lambda action: len(action.preconditions), default=None)


@lru_cache(maxsize=100_000)
def _fact_hash(fact: Proposition) -> int:
    return int.from_bytes(hashlib.blake2b(str(fact).encode(), digest_size=16).digest(), "big")
