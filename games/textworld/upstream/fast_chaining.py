"""Speed up TextWorld's search for quests (`textworld.generator.chaining`) without changing its results.

The search builds chains of actions. In a world of twenty rooms, two operations take nearly all of the search's time:

* After each candidate action, TextWorld tests all facts against all constraints. This module tests only the new facts,
  because no other fact can break a constraint.
* TextWorld builds actions from all combinations of things, and rejects nearly all of these actions because they need a
  fact that does not hold. This module skips such combinations.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from games.textworld.upstream import patched, patches_enabled
from games.textworld.upstream.rule_matching import fact_signatures


@contextmanager
def quicker_chaining() -> Iterator[None]:
    """Make TextWorld search for quests with the functions of this module inside the `with` block."""
    if not patches_enabled():
        yield
        return
    from textworld.generator import chaining

    original = chaining._Chainer.try_instantiate

    def try_instantiate(self: Any, state: Any, partial: Any) -> Any:
        return None if _impossible(self, state, partial) else original(self, state, partial)

    with (
        patched(chaining._Chainer, apply=_apply, try_instantiate=try_instantiate),
        patched(chaining._PartialAction, __init__=_sortable),
    ):
        yield


def _sortable(self: Any, node: Any, rule: Any, mapping: Any) -> None:
    """Initialise TextWorld's `_PartialAction` with a faster sort key.

    The key consists of strings. It gives the same order as TextWorld's key, which consists of objects.
    """
    self.node, self.rule, self.mapping = node, rule, mapping
    absent = sorted((ph.name, ph.type) for ph, var in mapping.items() if var is None)
    present = sorted((ph.name, ph.type, var.name, var.type) for ph, var in mapping.items() if var is not None)
    self._sort_key = (rule.name, absent, present)


def _impossible(self: Any, state: Any, partial: Any) -> bool:
    """Return whether TextWorld's `ChainingOptions.check_action` is certain to reject the action `partial`.

    `check_action` rejects an action if one of its preconditions does not hold, although all things in this precondition
    exist.
    """
    from textworld.generator.chaining import ChainingOptions

    if type(self.options).check_action is not ChainingOptions.check_action:
        return False
    if getattr(self, "_facts_of", None) is not state:
        self._facts_of = state
        self._facts = {(fact.name, *fact.arguments) for fact in state.facts}
    mapping = partial.mapping
    for predicate in partial.rule.preconditions:
        things = [mapping.get(placeholder) for placeholder in predicate.parameters]
        if None not in things and (predicate.name, *things) not in self._facts:
            return all(mapping.get(ph) is not None for ph in partial.rule.placeholders) and all(
                state.has_variable(thing) for thing in things
            )
    return False


def _apply(self: Any, node: Any, action: Any) -> Any:
    """Return the state after `action`, or None if that state breaks a constraint or has occurred before.

    `node` is the last node of a chain. The earlier states are obtained by undoing the chain's actions one by one, as in
    TextWorld's `_Chainer.apply`.
    """
    if not hasattr(self, "_constraints"):
        self._constraints = _Constraints(self)
    new_state = node.state.copy()
    for fact in action.preconditions:
        new_state.add_fact(fact)
    if self._constraints.broken(node, new_state, action.preconditions):
        return None
    new_state.apply(action)
    if self._constraints.broken(node, new_state, action.added):
        return None
    facts = set(new_state.facts)
    earlier = facts - action.added | action.removed
    while node.action:
        if earlier.issuperset(node.action.postconditions):
            earlier = earlier - node.action.added | node.action.removed
        if earlier == facts:
            return None
        node = node.parent
    return new_state


class _Constraints:
    """The constraints of one search, indexed by the signatures of the facts that can break them.

    The preconditions of a TextWorld constraint describe a forbidden situation. A state breaks the constraint if all
    preconditions hold, with a different thing for each placeholder.
    """

    def __init__(self, chainer: Any) -> None:
        self._begins_clean = bool(chainer.check_state(chainer.state))
        self._signatures: dict[Any, list[Any]] = {}
        self._by_signature: dict[Any, list[tuple[Any, list[Any]]]] = {}
        types = chainer.options.logic.types
        for rule in chainer.constraints:
            for at, predicate in enumerate(rule.preconditions):
                signatures = self._signatures[predicate] = fact_signatures(predicate, types)
                others = [*rule.preconditions[:at], *rule.preconditions[at + 1 :]]
                for signature in signatures:
                    self._by_signature.setdefault(signature, []).append((predicate, others))

    def broken(self, node: Any, state: Any, new: Collection[Any]) -> bool:
        """Return whether `state` breaks a constraint. `new` contains all facts of `state` that `node.state` lacks.

        Only the new facts are checked. `_apply` has already checked `node.state`, and `__init__` the first state.
        """
        if node.parent is None and not self._begins_clean:
            return True
        return any(
            self._holds(state, others, mapping)
            for fact in new
            for predicate, others in self._by_signature.get(fact.signature, ())
            if (mapping := _matched(predicate, fact, {})) is not None
        )

    def _holds(self, state: Any, predicates: Sequence[Any], mapping: dict[Any, Any]) -> bool:
        """Return whether all `predicates` match facts of `state` at once.

        `mapping` assigns things to placeholders. Each other placeholder may stand for any of the remaining things.
        """
        if not predicates:
            return True
        first = max(predicates, key=lambda predicate: sum(ph in mapping for ph in predicate.parameters))
        others = [predicate for predicate in predicates if predicate is not first]
        return any(
            self._holds(state, others, more)
            for signature in self._signatures[first]
            for fact in state.facts_with_signature(signature)
            if (more := _matched(first, fact, mapping)) is not None
        )


def _matched(predicate: Any, fact: Any, mapping: dict[Any, Any]) -> dict[Any, Any] | None:
    """Return `mapping`, extended by the pairs (parameter of `predicate`, argument of `fact`).

    Return None if that would give one placeholder two things, or one thing two placeholders.
    """
    for placeholder, thing in zip(predicate.parameters, fact.arguments, strict=True):
        known = mapping.get(placeholder)
        if known is None and thing not in mapping.values():
            mapping = {**mapping, placeholder: thing}
        elif known != thing:
            return None
    return mapping
