"""Find all instances of a TextWorld rule in a set of facts, in TextWorld's order.

This replaces `State.all_assignments` of TextWorld 1.7.0, which takes most of the time of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textworld.logic import Action, Proposition, Rule, Signature, Variable

FactsBySignature = dict["Signature", frozenset["Proposition"]]
Key = tuple[str, str]  # the name and type of a variable; comparing keys is faster than comparing variables
Row = tuple[Key, ...]  # the arguments of a fact
Slots = tuple[Key | None, ...]  # one slot for each placeholder of a rule; None is an empty slot


class FactTables:
    """Converts facts to rows of keys, and caches the rows for all rules of a game."""

    def __init__(self) -> None:
        self.variables: dict[Key, Variable] = {}
        self._rows: dict[frozenset[Proposition], list[Row]] = {}

    def rows(self, facts: frozenset[Proposition]) -> list[Row]:
        """Return one row for each of the sorted facts. All facts must have the same signature."""
        if facts not in self._rows:
            ordered = [fact.arguments for fact in sorted(facts)]
            self.variables.update((_key(variable), variable) for arguments in ordered for variable in arguments)
            self._rows[facts] = [tuple(map(_key, arguments)) for arguments in ordered]
        return self._rows[facts]

    def clear_cache(self) -> None:
        self._rows.clear()


class RuleMatcher:
    """Finds and caches the instances of one rule. In an instance, every precondition is a fact."""

    def __init__(self, rule: Rule, kb: Any, tables: FactTables) -> None:
        self._rule, self._tables = rule, tables
        self._constants = dict(kb.types.constants_mapping)
        self._slots = {p: slot for slot, p in enumerate(dict.fromkeys((*rule.placeholders, *self._constants)))}
        self._empty = tuple(_key(self._constants[p]) if p in self._constants else None for p in self._slots)
        types = kb.logic.types
        self._steps: list[tuple[list[int], list[Signature]]] = [
            ([self._slots[p] for p in predicate.parameters], fact_signatures(predicate, types))
            for predicate in rule.preconditions
        ]
        self._read = list(dict.fromkeys(signature for _, signatures in self._steps for signature in signatures))
        self.signatures = frozenset(self._read)
        named = {placeholder for predicate in rule.preconditions for placeholder in predicate.parameters}
        # whether some placeholder occurs in no precondition, so that the instances depend on all facts
        self.unbound = any(p not in named and p not in self._constants for p in rule.placeholders)
        self._cache: dict[tuple[Any, ...], tuple[Action, ...]] = {}

    def actions(self, logic: Any, facts: FactsBySignature) -> tuple[Action, ...]:
        """Return all instances, as actions. `logic` is the game's `GameLogic`."""
        if self.unbound:
            from textworld.logic import State

            state = State(logic, [fact for matching in facts.values() for fact in matching])
            return tuple(state.all_instantiations(self._rule, self._constants))
        key = tuple(facts.get(signature) for signature in self._read)
        if key not in self._cache:
            self._cache[key] = tuple(map(self._instance, self._search(facts, self._empty)))
        return self._cache[key]

    def clear_cache(self) -> None:
        self._cache.clear()

    def _instance(self, values: Slots) -> Action:
        variables = self._tables.variables
        filled = zip(self._slots, values, strict=True)
        bound = {p: variables[key] for p, key in filled if p not in self._constants and key is not None}
        return self._rule.instantiate({**self._constants, **bound})

    def _search(self, facts: FactsBySignature, values: Slots, depth: int = 0) -> Iterator[Slots]:
        """Yield all ways to fill the empty slots. The preconditions before `depth` already hold."""
        if depth == len(self._steps):
            yield values
            return
        slots, signatures = self._steps[depth]
        for signature in signatures:
            for row in self._tables.rows(facts.get(signature, frozenset())):
                filled = _fill(slots, row, values)
                if filled is not None:
                    yield from self._search(facts, filled, depth + 1)


def _key(variable: Variable) -> Key:
    return variable.name, variable.type


def _fill(slots: Sequence[int], row: Row, values: Slots) -> Slots | None:
    """Return `values` with the keys of `row` in `slots`, or None if a slot or a key is already in use."""
    for slot, key in zip(slots, row, strict=True):
        if values[slot] == key:
            continue
        if values[slot] is not None or key in values:
            return None
        values = (*values[:slot], key, *values[slot + 1 :])
    return values


def fact_signatures(predicate: Any, types: Any) -> list[Signature]:
    """Return every signature that an instance of `predicate` can have."""
    from textworld.logic import Signature

    subtypes = types.multi_subtypes([types.get(name) for name in predicate.signature.types])
    return [Signature(predicate.name, [kind.name for kind in kinds]) for kinds in subtypes]
