"""Find all instances of a TextWorld rule in a set of facts, in TextWorld's order but faster.

A rule has placeholders. An instance of the rule assigns a variable (a thing or a room of the game) to each placeholder,
so that all preconditions of the rule become facts. Variables are represented by numbers. Each placeholder has a slot,
which holds the number of the assigned variable.

As in TextWorld's `State.all_assignments` (`textworld.logic`), the search processes one precondition after the other and
tries the facts in sorted order. To save time, if a variable is already assigned to an argument of the precondition, the
search tries only facts with this variable. It also caches the instances by the facts that the rule reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textworld.logic import Action, Proposition, Rule, Signature, Variable

FactsBySignature = dict["Signature", frozenset["Proposition"]]
Row = tuple[int, ...]
"""Variables as numbers: either the arguments of a fact, or the contents of the slots of a rule."""


class FactTables:
    """Converts sets of facts to rows of numbers, and caches the rows for all rules of a game.

    All facts of one set have the same signature (name and argument types).
    """

    def __init__(self) -> None:
        self._numbers: dict[Variable, int] = {}
        self.variables: list[Variable] = []
        self._rows: dict[frozenset[Proposition], list[Row]] = {}
        self._indexes: dict[tuple[frozenset[Proposition], int], dict[int, list[Row]]] = {}

    def number(self, variable: Variable) -> int:
        """Return the number of a variable. A new variable gets the next number."""
        if variable not in self._numbers:
            self._numbers[variable] = len(self.variables)
            self.variables.append(variable)
        return self._numbers[variable]

    def rows(self, facts: frozenset[Proposition]) -> list[Row]:
        """Return one row for each of `facts`: the numbers of the fact's arguments. The facts are sorted first."""
        if facts not in self._rows:
            self._rows[facts] = [tuple(map(self.number, fact.arguments)) for fact in sorted(facts)]
        return self._rows[facts]

    def rows_with(self, facts: frozenset[Proposition], position: int, number: int) -> list[Row]:
        """Return those rows of `facts` that contain the variable `number` at `position`.

        The order is that of `rows`.
        """
        index = self._indexes.get((facts, position))
        if index is None:
            index = self._indexes[facts, position] = {}
            for row in self.rows(facts):
                index.setdefault(row[position], []).append(row)
        return index.get(number, [])

    def clear_cache(self) -> None:
        self._rows.clear()
        self._indexes.clear()


class RuleMatcher:
    """Finds and caches the instances of one rule."""

    def __init__(self, rule: Rule, kb: Any, tables: FactTables) -> None:
        self._rule, self._tables = rule, tables
        self._constants = dict(kb.types.constants_mapping)
        self._slots = {p: slot for slot, p in enumerate(dict.fromkeys((*rule.placeholders, *self._constants)))}
        types = kb.logic.types
        self._steps: list[tuple[Row, list[Signature]]] = []
        for predicate in rule.preconditions:
            self._steps.append((tuple(self._slots[p] for p in predicate.parameters), fact_signatures(predicate, types)))
        self._read = list(dict.fromkeys(signature for _, signatures in self._steps for signature in signatures))
        self.signatures = frozenset(self._read)
        named = {placeholder for predicate in rule.preconditions for placeholder in predicate.parameters}
        self.unbound = any(p not in named and p not in self._constants for p in rule.placeholders)
        """Whether some placeholder occurs in no precondition, so that the instances depend on all facts."""
        self._cache: dict[tuple[Any, ...], tuple[Action, ...]] = {}

    def actions(self, logic: Any, facts: FactsBySignature) -> tuple[Action, ...]:
        """Return all instances of the rule for these facts, as actions.

        `facts` maps signatures to facts. `logic` is TextWorld's `GameLogic` of the game.
        """
        if self.unbound:
            from textworld.logic import State

            state = State(logic, [fact for matching in facts.values() for fact in matching])
            return tuple(state.all_instantiations(self._rule, self._constants))
        key = tuple(facts.get(signature) for signature in self._read)
        actions = self._cache.get(key)
        if actions is None:
            actions = self._cache[key] = tuple(map(self._instance, self._search(facts, self._empty())))
        return actions

    def clear_cache(self) -> None:
        self._cache.clear()

    def _empty(self) -> Row:
        return tuple(self._tables.number(self._constants[p]) if p in self._constants else -1 for p in self._slots)

    def _instance(self, values: Row) -> Action:
        variables = self._tables.variables
        bound = {p: variables[values[slot]] for p, slot in self._slots.items() if values[slot] >= 0}
        return self._rule.instantiate({**self._constants, **bound})

    def _search(self, facts: FactsBySignature, values: Row, depth: int = 0) -> Iterator[Row]:
        """Yield all ways to fill the empty slots so that the preconditions from index `depth` on are facts.

        `values` holds one variable number for each slot, or -1 for an empty slot. Different slots hold different
        variables.
        """
        if depth == len(self._steps):
            yield values
            return
        slots, signatures = self._steps[depth]
        bound = next((position for position, slot in enumerate(slots) if values[slot] >= 0), None)
        for signature in signatures:
            matching = facts.get(signature)
            if not matching:
                continue
            tables = self._tables
            rows = tables.rows(matching) if bound is None else tables.rows_with(matching, bound, values[slots[bound]])
            for row in rows:
                filled = _fill(slots, row, values)
                if filled is not None:
                    yield from self._search(facts, filled, depth + 1)


def _fill(slots: Row, row: Row, values: Row) -> Row | None:
    """Return `values` with the numbers of `row` put into `slots`.

    Return None if a slot already holds another number, or if another slot already holds the same number.
    """
    for slot, number in zip(slots, row, strict=True):
        if values[slot] == number:
            continue
        if values[slot] >= 0 or number in values:
            return None
        values = (*values[:slot], number, *values[slot + 1 :])
    return values


def fact_signatures(predicate: Any, types: Any) -> list[Signature]:
    """Return the signatures of all facts that can be an instance of `predicate`."""
    from textworld.logic import Signature

    subtypes = types.multi_subtypes([types.get(name) for name in predicate.signature.types])
    return [Signature(predicate.name, [kind.name for kind in kinds]) for kinds in subtypes]
