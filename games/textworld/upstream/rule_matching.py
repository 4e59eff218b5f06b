"""Find the instances of a rule faster than `State.all_assignments` of TextWorld 1.7.0, in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textworld.logic import Action, Proposition, Rule, Signature, Variable

FactsBySignature = dict["Signature", frozenset["Proposition"]]
Key = tuple[str, str]  # the name and type of a variable; comparing keys is faster than comparing variables
Row = tuple[Key, ...]  # the arguments of a fact
Assignment = tuple[Key | None, ...]  # one slot for each placeholder of a rule; None is an empty slot


class FactTables:
    """Converts facts to rows of keys and caches the rows."""

    def __init__(self) -> None:
        self.variables: dict[Key, Variable] = {}
        self._rows: dict[frozenset[Proposition], list[Row]] = {}

    def rows(self, facts: frozenset[Proposition]) -> list[Row]:
        """Return one row per fact, in sorted order. All facts must have the same signature."""
        if facts not in self._rows:
            ordered = [fact.arguments for fact in sorted(facts)]
            self.variables.update((_key(variable), variable) for arguments in ordered for variable in arguments)
            self._rows[facts] = [tuple(map(_key, arguments)) for arguments in ordered]
        return self._rows[facts]

    def clear_cache(self) -> None:
        self._rows.clear()


class RuleMatcher:
    """Finds the instances of one rule: the actions whose preconditions hold."""

    def __init__(self, rule: Rule, kb: Any, tables: FactTables) -> None:
        self._rule, self._tables = rule, tables
        self._constants = dict(kb.types.constants_mapping)
        self._slots = {
            placeholder: slot for slot, placeholder in enumerate(dict.fromkeys((*rule.placeholders, *self._constants)))
        }
        self._empty_assignment = tuple(
            _key(self._constants[placeholder]) if placeholder in self._constants else None
            for placeholder in self._slots
        )
        types = kb.logic.types
        self._preconditions: list[tuple[list[int], list[Signature]]] = [
            ([self._slots[placeholder] for placeholder in predicate.parameters], fact_signatures(predicate, types))
            for predicate in rule.preconditions
        ]
        self._precondition_signatures = list(
            dict.fromkeys(signature for _, signatures in self._preconditions for signature in signatures)
        )
        self.signatures = frozenset(self._precondition_signatures)
        used_placeholders = {placeholder for predicate in rule.preconditions for placeholder in predicate.parameters}
        # whether some placeholder occurs in no precondition, so that the instances depend on all facts
        self.has_unbound_placeholder = any(
            placeholder not in used_placeholders and placeholder not in self._constants
            for placeholder in rule.placeholders
        )
        self._cache: dict[tuple[Any, ...], tuple[Action, ...]] = {}

    def actions(self, logic: Any, facts: FactsBySignature) -> tuple[Action, ...]:
        """Return all instances of the rule. `logic` is the game's `GameLogic`."""
        if self.has_unbound_placeholder:
            from textworld.logic import State

            state = State(logic, [fact for matching in facts.values() for fact in matching])
            return tuple(state.all_instantiations(self._rule, self._constants))
        key = tuple(facts.get(signature) for signature in self._precondition_signatures)
        if key not in self._cache:
            self._cache[key] = tuple(map(self._instance, self._search(facts, self._empty_assignment)))
        return self._cache[key]

    def clear_cache(self) -> None:
        self._cache.clear()

    def _instance(self, assignment: Assignment) -> Action:
        variables = self._tables.variables
        filled = zip(self._slots, assignment, strict=True)
        bound = {
            placeholder: variables[key]
            for placeholder, key in filled
            if placeholder not in self._constants and key is not None
        }
        return self._rule.instantiate({**self._constants, **bound})

    def _search(self, facts: FactsBySignature, assignment: Assignment, depth: int = 0) -> Iterator[Assignment]:
        """Yield all complete assignments that extend `assignment`, which satisfies the first `depth` preconditions."""
        if depth == len(self._preconditions):
            yield assignment
            return
        slots, signatures = self._preconditions[depth]
        for signature in signatures:
            for row in self._tables.rows(facts.get(signature, frozenset())):
                filled_assignment = _fill(slots, row, assignment)
                if filled_assignment is not None:
                    yield from self._search(facts, filled_assignment, depth + 1)


def _key(variable: Variable) -> Key:
    return variable.name, variable.type


def _fill(slots: Sequence[int], row: Row, assignment: Assignment) -> Assignment | None:
    """Return `assignment` with `row` in `slots`, or None if `row` conflicts with `assignment`."""
    for slot, key in zip(slots, row, strict=True):
        if assignment[slot] == key:
            continue
        if assignment[slot] is not None or key in assignment:
            return None
        assignment = (*assignment[:slot], key, *assignment[slot + 1 :])
    return assignment


def fact_signatures(predicate: Any, types: Any) -> list[Signature]:
    """Return all signatures that an instance of `predicate` can have."""
    from textworld.logic import Signature

    subtypes = types.multi_subtypes([types.get(name) for name in predicate.signature.types])
    return [Signature(predicate.name, [type_.name for type_ in argument_types]) for argument_types in subtypes]
