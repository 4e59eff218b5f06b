"""Track the facts, applicable actions and quests of a game as an immutable value.

TextWorld computes these values from the game's `.json`, which holds the rules, facts and quests, and from the traces. A
trace is a line in which the interpreter reports an action.

TextWorld's `GameProgression` (`textworld.generator.game`) changes in place. Our `GameState` follows the same rules, but
is immutable and shares its unchanged parts with the previous state.
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
    """The facts, applicable actions and quests of a game.

    `facts_hash` is the sum, modulo 2^128, of the hashes of all facts, so their order does not matter. `actions` holds
    the applicable actions of each rule, in the order of the rules. `key` is a hash of everything that affects later
    states.
    """

    facts_by_signature: FactsBySignature
    facts_hash: int
    actions: tuple[tuple[Action, ...], ...]
    quests: tuple[QuestProgress, ...]
    key: bytes


class Tracker:
    """Tracks the state of one game. If `policies` is true, it also computes the commands that win the game."""

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
        """Return the state after the interpreter has reported actions. `events` are the names of the actions."""
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
        """Return the admissible commands of a state in alphabetical order."""
        return tuple(sorted({self._command(action) for actions in state.actions for action in actions}))

    def policy_commands(self, state: GameState) -> tuple[str, ...] | None:
        """Return the commands that win from this state, or None if the game is over or TextWorld knows none."""
        return self._quests.policy_commands(state.quests)

    def _apply(self, state: GameState, action: Action) -> GameState:
        """Return the state after one action, as TextWorld's `GameProgression.update` computes it."""
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
        """Return the applicable actions of each rule.

        `changed` holds the signatures of the facts that have changed. A rule whose preconditions have none of these
        signatures keeps its actions of the previous state, `before`. If `changed` is None, all rules are evaluated.
        """
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
        """Return the applicable action whose trace is `event`, or None if there is none.

        If there are several, choose one with the most preconditions, and the first one in case of a tie. TextWorld's
        `Inform7Game.detect_action` returns the same action.
        """
        fitting = (a for actions in actions_by_rule for a in actions if self._trace(a) == event.lower())
        return max(fitting, key=lambda action: len(action.preconditions), default=None)


@lru_cache(maxsize=100_000)
def _fact_hash(fact: Proposition) -> int:
    return int.from_bytes(hashlib.blake2b(str(fact).encode(), digest_size=16).digest(), "big")
