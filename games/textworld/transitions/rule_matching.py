"""What a rule of TextWorld allows, given the facts: all its instances, in TextWorld's order, found faster.

The search is that of `textworld.logic.State.all_assignments` (one precondition after the other, facts in their
order), with two differences that change no result: facts are looked up by an argument that is already known, and
what was found is remembered for the sets of facts that the rule asks for, since it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textworld.logic import Action, Proposition, Rule, Signature, Variable

Kinds = dict["Signature", frozenset["Proposition"]]
Row = tuple[int, ...]
"""A fact's arguments as numbers."""


class Tables:
    """Sets of facts of one signature as sorted rows with indices. One for all rules of a game."""

    def __init__(self) -> None:
        self._numbers: dict[Variable, int] = {}
        self.things: list[Variable] = []
        """Number -> variable."""
        self._tables: dict[frozenset[Proposition], Table] = {}

    def number(self, thing: Variable) -> int:
        """The number of a variable."""
        if thing not in self._numbers:
            self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return self._numbers[thing]

    def table(self, facts: frozenset[Proposition]) -> Table:
        """The rows of a set of facts."""
        found = self._tables.get(facts)
        if found is None:
            rows = [tuple(map(self.number, fact.arguments)) for fact in sorted(facts)]
            found = self._tables[facts] = Table(rows)
        return found

    def forget(self) -> None:
        """Forget the tables; only time is lost."""
        self._tables.clear()


class Table:
    """Rows in order, and those with a given argument at a given place."""

    __slots__ = ("_by_argument", "rows")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._by_argument: dict[int, dict[int, list[Row]]] = {}

    def where(self, place: int, number: int) -> list[Row]:
        """The rows whose argument at `place` is `number`, in order."""
        index = self._by_argument.get(place)
        if index is None:
            index = self._by_argument[place] = {}
            for row in self.rows:
                index.setdefault(row[place], []).append(row)
        return index.get(number, [])


class RuleMatcher:
    """What one rule allows."""

    def __init__(self, rule: Rule, kb: Any, tables: Tables) -> None:
        from textworld.logic import Signature

        self._rule, self._tables = rule, tables
        self._placeholders = list(rule.placeholders)
        self._constants = dict(kb.types.constants_mapping)
        self._slots = {p: slot for slot, p in enumerate(dict.fromkeys((*self._placeholders, *self._constants)))}
        types = kb.logic.types
        self._steps: list[tuple[Row, list[Signature]]] = []
        for predicate in rule.preconditions:
            kinds = types.multi_subtypes([types.get(name) for name in predicate.signature.types])
            signatures = [Signature(predicate.signature.name, [kind.name for kind in some]) for some in kinds]
            self._steps.append((tuple(self._slots[p] for p in predicate.parameters), signatures))
        self._asked = list(dict.fromkeys(signature for _, some in self._steps for signature in some))
        self.asks = frozenset(self._asked)
        """The signatures on whose facts it depends."""
        named = {placeholder for predicate in rule.preconditions for placeholder in predicate.parameters}
        self.free = any(p not in named and p not in self._constants for p in self._placeholders)
        """Does it stand for things that its preconditions do not name? Then it depends on all facts."""
        self._memory: dict[tuple[Any, ...], tuple[Action, ...]] = {}

    def actions(self, logic: Any, kinds: Kinds) -> tuple[Action, ...]:
        """Its instances where `kinds` are the facts."""
        if self.free:
            return tuple(_state(logic, kinds).all_instantiations(self._rule, self._constants))
        key = tuple(kinds.get(signature) for signature in self._asked)
        found = self._memory.get(key)
        if found is None:
            found = self._memory[key] = tuple(map(self._instance, self._assignments(kinds)))
        return found

    def forget(self) -> None:
        """Forget what was found; only time is lost."""
        self._memory.clear()

    def _instance(self, values: list[int]) -> Action:
        things = self._tables.things
        return self._rule.instantiate(
            {**self._constants, **{p: things[values[slot]] for p, slot in self._slots.items() if values[slot] >= 0}}
        )

    def _assignments(self, kinds: Kinds) -> Iterator[list[int]]:
        values = [-1] * len(self._slots)
        for placeholder, thing in self._constants.items():
            values[self._slots[placeholder]] = self._tables.number(thing)
        yield from self._search(0, kinds, values, {value for value in values if value >= 0})

    def _search(self, depth: int, kinds: Kinds, values: list[int], used: set[int]) -> Iterator[list[int]]:
        """All ways to fill the slots of the preconditions from `depth` on; different slots hold different things."""
        if depth == len(self._steps):
            yield values
            return
        slots, signatures = self._steps[depth]
        for signature in signatures:
            facts = kinds.get(signature)
            if not facts:
                continue
            table = self._tables.table(facts)
            known = next((place for place, slot in enumerate(slots) if values[slot] >= 0), None)
            rows = table.rows if known is None else table.where(known, values[slots[known]])
            for row in rows:
                filled = _fill(slots, row, values, used)
                if filled is not None:
                    yield from self._search(depth + 1, kinds, values, used)
                    for slot in filled:
                        used.discard(values[slot])
                        values[slot] = -1


def _fill(slots: Row, row: Row, values: list[int], used: set[int]) -> list[int] | None:
    """Fill the empty slots from a row and return them; None, and nothing filled, where the row does not fit."""
    filled: list[int] = []
    for slot, number in zip(slots, row, strict=True):
        if values[slot] == number:
            continue
        if values[slot] >= 0 or number in used:
            for undo in filled:
                used.discard(values[undo])
                values[undo] = -1
            return None
        values[slot] = number
        used.add(number)
        filled.append(slot)
    return filled


def _state(logic: Any, kinds: Kinds) -> Any:
    """A complete state, with the variables that occur in its facts."""
    from textworld.logic import State

    return State(logic, [fact for some in kinds.values() for fact in some])
