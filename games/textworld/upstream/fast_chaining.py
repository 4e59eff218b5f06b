"""Speed up the search for quests in TextWorld 1.7.0 (`textworld.generator.chaining`)."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from games.textworld.upstream import patched, patches_enabled
from games.textworld.upstream.rule_matching import fact_signatures


@contextmanager
def quicker_chaining() -> Iterator[None]:
    """Inside the `with` block, speed up TextWorld's search for quests."""
    if not patches_enabled():
        yield
        return
    from textworld.generator import chaining

    original = chaining._Chainer.try_instantiate

    def try_instantiate(self: Any, state: Any, partial: Any) -> Any:
        return None if _is_impossible(self, state, partial) else original(self, state, partial)

    with (
        patched(chaining._Chainer, apply=_apply, try_instantiate=try_instantiate),
        patched(chaining._PartialAction, __init__=_init_partial_action),
    ):
        yield


def _init_partial_action(self: Any, node: Any, rule: Any, mapping: Any) -> None:
    self.node, self.rule, self.mapping = node, rule, mapping
    absent = sorted(
        (placeholder.name, placeholder.type) for placeholder, variable in mapping.items() if variable is None
    )
    present = sorted(
        (placeholder.name, placeholder.type, variable.name, variable.type)
        for placeholder, variable in mapping.items()
        if variable is not None
    )
    self._sort_key = (rule.name, absent, present)  # strings sort as TextWorld's objects do, but faster


def _is_impossible(self: Any, state: Any, partial: Any) -> bool:
    """Return True only if TextWorld certainly rejects the partial action `partial`."""
    from textworld.generator.chaining import ChainingOptions

    if type(self.options).check_action is not ChainingOptions.check_action:
        return False
    if getattr(self, "_facts_state", None) is not state:
        self._facts_state = state
        self._facts = {(fact.name, *fact.arguments) for fact in state.facts}
    mapping = partial.mapping
    for precondition in partial.rule.preconditions:
        arguments = [mapping.get(placeholder) for placeholder in precondition.parameters]
        if None not in arguments and (precondition.name, *arguments) not in self._facts:
            return all(mapping.get(placeholder) is not None for placeholder in partial.rule.placeholders) and all(
                state.has_variable(argument) for argument in arguments
            )
    return False


def _apply(self: Any, node: Any, action: Any) -> Any:
    """Return the state after `action`, or None if `action` breaks a constraint or repeats an earlier state."""
    if not hasattr(self, "_constraints"):
        self._constraints = _Constraints(self)
    new_state = node.state.copy()
    for fact in action.preconditions:
        new_state.add_fact(fact)
    if self._constraints.are_broken(node, new_state, action.preconditions):
        return None
    new_state.apply(action)
    if self._constraints.are_broken(node, new_state, action.added):
        return None
    facts = set(new_state.facts)
    earlier = facts - action.added | action.removed
    while node.action:  # undo the actions of the chain, from the last to the first
        if earlier.issuperset(node.action.postconditions):
            earlier = earlier - node.action.added | node.action.removed
        if earlier == facts:
            return None
        node = node.parent
    return new_state


class _Constraints:
    """The constraints of one search. A constraint is a list of predicates that must not hold together."""

    def __init__(self, chainer: Any) -> None:
        self._start_is_valid = bool(chainer.check_state(chainer.state))
        self._signatures: dict[Any, list[Any]] = {}
        self._by_signature: dict[Any, list[tuple[Any, list[Any]]]] = {}
        types = chainer.options.logic.types
        for rule in chainer.constraints:
            for index, predicate in enumerate(rule.preconditions):
                signatures = self._signatures[predicate] = fact_signatures(predicate, types)
                other_predicates = [*rule.preconditions[:index], *rule.preconditions[index + 1 :]]
                for signature in signatures:
                    self._by_signature.setdefault(signature, []).append((predicate, other_predicates))

    def are_broken(self, node: Any, state: Any, new_facts: Collection[Any]) -> bool:
        """Return whether `new_facts` break a constraint in `state`."""
        if node.parent is None and not self._start_is_valid:
            return True
        return any(  # the other facts break no constraint
            self._holds(state, other_predicates, mapping)
            for fact in new_facts
            for predicate, other_predicates in self._by_signature.get(fact.signature, ())
            if (mapping := _extended_mapping(predicate, fact, {})) is not None
        )

    def _holds(self, state: Any, predicates: Sequence[Any], mapping: dict[Any, Any]) -> bool:
        """Return whether some extension of `mapping` satisfies all `predicates` in `state`."""
        if not predicates:
            return True
        first = max(
            predicates, key=lambda predicate: sum(placeholder in mapping for placeholder in predicate.parameters)
        )
        other_predicates = [predicate for predicate in predicates if predicate is not first]
        return any(
            self._holds(state, other_predicates, extended_mapping)
            for signature in self._signatures[first]
            for fact in state.facts_with_signature(signature)
            if (extended_mapping := _extended_mapping(first, fact, mapping)) is not None
        )


def _extended_mapping(predicate: Any, fact: Any, mapping: dict[Any, Any]) -> dict[Any, Any] | None:
    """Extend `mapping` (placeholder -> thing) so that `predicate` matches `fact`. Return None if impossible."""
    for placeholder, thing in zip(predicate.parameters, fact.arguments, strict=True):
        assigned_thing = mapping.get(placeholder)
        if assigned_thing is None and thing not in mapping.values():  # each placeholder is a different thing
            mapping = {**mapping, placeholder: thing}
        elif assigned_thing != thing:
            return None
    return mapping
