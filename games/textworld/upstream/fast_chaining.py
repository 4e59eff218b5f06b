"""Speed up TextWorld's search for quests.

This replaces the inner loops of `textworld.generator.chaining` (TextWorld 1.7.0), which are slow in large worlds.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from games.textworld.upstream import patched, patches_enabled
from games.textworld.upstream.rule_matching import fact_signatures


@contextmanager
def quicker_chaining() -> Iterator[None]:
    """Speed up TextWorld's search for quests inside the `with` block."""
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
    self.node, self.rule, self.mapping = node, rule, mapping
    absent = sorted((ph.name, ph.type) for ph, var in mapping.items() if var is None)
    present = sorted((ph.name, ph.type, var.name, var.type) for ph, var in mapping.items() if var is not None)
    self._sort_key = (rule.name, absent, present)  # strings sort as TextWorld's objects do, but faster


def _impossible(self: Any, state: Any, partial: Any) -> bool:
    """Return whether TextWorld's `check_action` is certain to reject `partial`."""
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
    """Return the next state, or None if it breaks a constraint or has occurred before."""
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
    while node.action:  # undo the actions of the chain
        if earlier.issuperset(node.action.postconditions):
            earlier = earlier - node.action.added | node.action.removed
        if earlier == facts:
            return None
        node = node.parent
    return new_state


class _Constraints:
    """The constraints of one search. A constraint is a list of facts that must not hold together."""

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
        """Return whether `state` breaks a constraint. `new` includes the facts that `node.state` lacks."""
        if node.parent is None and not self._begins_clean:
            return True
        return any(  # no other fact can break a constraint
            self._holds(state, others, mapping)
            for fact in new
            for predicate, others in self._by_signature.get(fact.signature, ())
            if (mapping := _matched(predicate, fact, {})) is not None
        )

    def _holds(self, state: Any, predicates: Sequence[Any], mapping: dict[Any, Any]) -> bool:
        """Return whether `mapping` (placeholder -> thing) can be extended so that all `predicates` hold."""
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
    """Extend `mapping` (placeholder -> thing) so that `predicate` matches `fact`, or return None."""
    for placeholder, thing in zip(predicate.parameters, fact.arguments, strict=True):
        known = mapping.get(placeholder)
        if known is None and thing not in mapping.values():  # each placeholder is a different thing
            mapping = {**mapping, placeholder: thing}
        elif known != thing:
            return None
    return mapping
