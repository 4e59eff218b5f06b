"""Track the state of a game in immutable objects, unlike `GameProgression` of TextWorld 1.7.0."""

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
    """Computes the states of a game. If `policies` is true, also computes winning commands."""

    def __init__(self, game: Game, *, policies: bool) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._inform7, self._kb = Inform7Game(game), game.kb
        self._tables = FactTables()
        self._rules = [RuleMatcher(rule, game.kb, self._tables) for rule in game.kb.rules.values()]
        self._commands: dict[int, tuple[str, Action]] = {}
        self._traces: dict[int, tuple[str, Action]] = {}
        self._quests = QuestTracker(game, policies=policies)
        fact_sets: dict[Any, set[Any]] = {}
        for fact in game.world.facts:
            fact_sets.setdefault(fact.signature, set()).add(fact)
        facts = {signature: frozenset(fact_set) for signature, fact_set in fact_sets.items()}
        facts_hash = sum(map(_fact_hash, game.world.facts)) % MODULUS
        quests = self._quests.advance(self._quests.quests, None, facts)
        self.start = self._make_state(facts, facts_hash, self._applicable_actions(facts, None, ()), quests)

    def advance(self, state: GameState, events: Iterable[str]) -> GameState:
        """Return the state after the actions with the names `events`."""
        for event in events:
            action = self._detect_action(event, state.actions)
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
        """Return winning commands, or None if the game is over or no winning commands are known."""
        return self._quests.policy_commands(state.quests)

    def _apply(self, state: GameState, action: Action) -> GameState:
        """Reimplement TextWorld's `GameProgression.update`."""
        facts, facts_hash = dict(state.facts_by_signature), state.facts_hash
        changed = {fact.signature for fact in action.removed}
        for fact in action.added:
            earlier_facts = facts.get(fact.signature, frozenset())
            if fact not in earlier_facts:
                facts[fact.signature] = earlier_facts | {fact}
                facts_hash += _fact_hash(fact)
                changed.add(fact.signature)
        for fact in action.removed:
            facts[fact.signature] = facts[fact.signature] - {fact}
            facts_hash -= _fact_hash(fact)
        actions = self._applicable_actions(facts, changed, state.actions)
        quests = self._quests.advance(state.quests, action, facts)
        return self._make_state(facts, facts_hash % MODULUS, actions, quests)

    def _make_state(
        self, facts: FactsBySignature, facts_hash: int, actions: Any, quests: tuple[QuestProgress, ...]
    ) -> GameState:
        key = hashlib.blake2b(facts_hash.to_bytes(16, "big"), digest_size=16)
        for quest in quests:
            key.update(quest.key)
        return GameState(facts, facts_hash, actions, quests, key.digest())

    def _applicable_actions(
        self, facts: FactsBySignature, changed: set[Any] | None, previous_actions: Sequence[tuple[Action, ...]]
    ) -> tuple[tuple[Action, ...], ...]:
        """Return the applicable actions of each rule.

        If `changed` is given, recompute only rules with a signature in `changed`.
        """
        logic = self._kb.logic
        return tuple(
            rule.actions(logic, facts)
            if changed is None or rule.signatures & changed or rule.has_unbound_placeholder
            else previous_actions[i]
            for i, rule in enumerate(self._rules)
        )

    def _command(self, action: Action) -> str:
        if id(action) not in self._commands:  # stores the action too, so that Python does not reuse its id
            self._commands[id(action)] = (self._inform7.gen_commands_from_actions([action])[0], action)
        return self._commands[id(action)][0]

    def _trace_name(self, action: Action) -> str:
        if id(action) not in self._traces:
            self._traces[id(action)] = (trace_name(self._inform7, self._kb.inform7_events, action), action)
        return self._traces[id(action)][0]

    def _detect_action(self, event: str, actions_by_rule: Sequence[tuple[Action, ...]]) -> Action | None:
        """Reimplement TextWorld's `Inform7Game.detect_action`."""
        matching_actions = (
            action for actions in actions_by_rule for action in actions if self._trace_name(action) == event.lower()
        )
        return max(matching_actions, key=lambda action: len(action.preconditions), default=None)


@lru_cache(maxsize=100_000)
def _fact_hash(fact: Proposition) -> int:
    return int.from_bytes(hashlib.blake2b(str(fact).encode(), digest_size=16).digest(), "big")
