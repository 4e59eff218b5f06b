"""Track quests in immutable objects, unlike `QuestProgression` and `EventProgression` of TextWorld 1.7.0."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from games.textworld.upstream.rule_matching import FactsBySignature

if TYPE_CHECKING:
    from textworld.generator import Game
    from textworld.logic import Action, Proposition


@dataclass(frozen=True, slots=True)
class ActionTree:
    """The actions of a policy as a tree. A policy is a sequence of actions that triggers an event."""

    tree: Any  # TextWorld's `ActionDependencyTree`, which must not be changed
    order: tuple[Action, ...]  # the result of `tree.flatten()`
    key: bytes  # a hash of the tree


@dataclass(frozen=True, slots=True)
class EventProgress:
    """The progress of one event of a quest."""

    condition: Action
    tree: ActionTree
    policy: tuple[Action, ...]  # triggers the event
    triggered: bool = False
    untriggerable: bool = False

    @property
    def done(self) -> bool:
        return self.triggered or self.untriggerable

    @property
    def triggering_policy(self) -> tuple[Action, ...]:
        """The actions that trigger the event, or an empty tuple if the event is done."""
        return () if self.done else tuple(action for action in self.policy if action.name != "trigger")


@dataclass(frozen=True, slots=True)
class QuestProgress:
    """The progress of one quest."""

    win_events: tuple[EventProgress, ...]
    fail_events: tuple[EventProgress, ...]
    repeatable: bool
    optional: bool
    completions: int = 0

    @property
    def completed(self) -> bool:
        return any(event.triggered for event in self.win_events)

    @property
    def failed(self) -> bool:
        return any(event.triggered for event in self.fail_events) or any(
            event.untriggerable for event in self.win_events
        )

    @property
    def key(self) -> bytes:
        """An encoding of everything that affects later progress."""
        parts = [b"q%d" % self.completions]
        for event in (*self.win_events, *self.fail_events):
            parts += (b"%d%d" % (event.triggered, event.untriggerable), event.tree.key, _joined_hashes(event.policy))
        return b"".join(parts)

    @property
    def tree(self) -> ActionTree | None:
        """The tree of the shortest known policy that completes the quest, or None."""
        events = [event for event in self.win_events if event.triggering_policy]
        return min(events, key=lambda event: len(event.triggering_policy)).tree if events else None


class QuestTracker:
    """Computes the progress of a game's quests. If `policies` is true, also computes winning commands."""

    def __init__(self, game: Game, *, policies: bool) -> None:
        from textworld.generator.game import ActionDependencyTree, ActionDependencyTreeElement
        from textworld.generator.inform7 import Inform7Game

        self._policies, self._inform7 = policies, Inform7Game(game)
        self._new_tree = partial(ActionDependencyTree, kb=game.kb, element_type=ActionDependencyTreeElement)
        self._trees: dict[tuple[Action, ...], ActionTree] = {}
        self._pruned: dict[tuple[bytes, Action], tuple[bool, bool, ActionTree]] = {}
        self._shortened: dict[tuple[Any, ...], tuple[Action, ...] | None] = {}
        self._commands: dict[tuple[bytes, ...], tuple[str, ...]] = {}
        self.quests = tuple(self._quest(quest) for quest in game.quests)

    def advance(
        self, quests: Sequence[QuestProgress], action: Action | None, facts: FactsBySignature
    ) -> tuple[QuestProgress, ...]:
        """Return the quests after `action`. `facts` include the effects of `action`."""
        return tuple(self._advance(quest, action, facts) for quest in quests)

    def policy_commands(self, quests: Sequence[QuestProgress]) -> tuple[str, ...] | None:
        """Return winning commands, or None if the game is over or no winning commands are known."""
        if not self._policies or not quests or _is_over(quests):
            return None
        unfinished = [
            quest
            for quest in quests
            if quest.win_events and not (quest.completed or quest.failed) and not quest.optional
        ]
        trees = [tree for quest in unfinished if (tree := quest.tree) is not None]
        return self._merged_commands(trees) if len(trees) == len(unfinished) else None

    def clear_caches(self) -> None:
        for cache in (self._trees, self._pruned, self._shortened, self._commands):
            cache.clear()

    def _merged_commands(self, trees: Sequence[ActionTree]) -> tuple[str, ...]:
        """Reimplement TextWorld's `GameProgression.winning_policy`."""
        key = tuple(tree.key for tree in trees)
        if key not in self._commands:
            merged = self._new_tree(trees=[tree.tree for tree in trees])
            actions = [action for action in merged.flatten() if action.name != "trigger"]
            self._commands[key] = tuple(self._inform7.gen_commands_from_actions(actions))
        return self._commands[key]

    def _quest(self, quest: Any) -> QuestProgress:
        win_events, fail_events = (tuple(map(self._event, events)) for events in (quest.win_events, quest.fail_events))
        return QuestProgress(win_events, fail_events, bool(quest.repeatable), bool(quest.optional))

    def _event(self, event: Any) -> EventProgress:
        policy = (*event.actions, event.condition) if self._policies and event.actions else ()
        return EventProgress(event.condition, self._tree(policy), policy)

    def _tree(self, policy: tuple[Action, ...]) -> ActionTree:
        if policy not in self._trees:
            tree = self._new_tree()
            for action in policy[::-1]:
                tree.push(action)
            self._trees[policy] = _freeze(tree)
        return self._trees[policy]

    def _advance(self, quest: QuestProgress, action: Action | None, facts: FactsBySignature) -> QuestProgress:
        """Reimplement TextWorld's `QuestProgression.update`."""
        if quest.completed or quest.failed:
            return quest
        win_events, fail_events = (
            tuple(self._advance_event(event, action, facts) for event in events)
            for events in (quest.win_events, quest.fail_events)
        )
        if not any(event.triggered for event in win_events):
            return replace(quest, win_events=win_events, fail_events=fail_events)
        if quest.repeatable:
            win_events = tuple(replace(event, triggered=False) for event in win_events)
        return replace(quest, win_events=win_events, fail_events=fail_events, completions=quest.completions + 1)

    def _advance_event(self, event: EventProgress, action: Action | None, facts: FactsBySignature) -> EventProgress:
        """Reimplement TextWorld's `EventProgression.update`."""
        if event.done:
            return event
        if all(fact in facts.get(fact.signature, ()) for fact in event.condition.preconditions):
            event = replace(event, triggered=True)
        shorter_policy = self._shorten(event.tree.order, facts)
        if shorter_policy is not None:
            return replace(event, tree=self._tree(shorter_policy), policy=shorter_policy)
        if action is None or event.tree.tree.empty:
            return event
        changed, reversible, tree = self._prune(event.tree, action)
        if not changed:  # the policy stays as it is, although the tree may have lost a leaf
            return event if tree.key == event.tree.key else replace(event, tree=tree)
        if not reversible:
            return replace(event, tree=tree, untriggerable=True)
        return replace(event, tree=tree, policy=tree.order)

    def _prune(self, tree: ActionTree, action: Action) -> tuple[bool, bool, ActionTree]:
        """Return (whether `action` changes the tree, whether the change is reversible, the new tree)."""
        key = (tree.key, action)
        if key not in self._pruned:
            copy = tree.tree.copy()
            changed, reverse = copy.remove(action)
            self._pruned[key] = (changed, reverse is not None, _freeze(copy))
        return self._pruned[key]

    def _shorten(self, policy: tuple[Action, ...], facts: FactsBySignature) -> tuple[Action, ...] | None:
        """Reimplement TextWorld's `EventProgression.compress_policy`."""
        key = (_joined_hashes(policy), *(fact in facts.get(fact.signature, ()) for fact in _preconditions(policy)))
        if key not in self._shortened:
            shortest = None
            while (shorter := _shorten_once(policy, facts)) is not None:
                shortest = policy = shorter
            self._shortened[key] = shortest
        return self._shortened[key]


def _is_over(quests: Sequence[QuestProgress]) -> bool:
    completed = all(quest.completed for quest in quests if quest.win_events and not quest.optional)
    return completed or any(quest.failed for quest in quests if not quest.optional)


@lru_cache(maxsize=10_000)
def _preconditions(policy: tuple[Action, ...]) -> tuple[Proposition, ...]:
    return tuple(dict.fromkeys(fact for action in policy for fact in action.preconditions))


def _shorten_once(policy: tuple[Action, ...], facts: FactsBySignature) -> tuple[Action, ...] | None:
    """Return `policy` without the first unnecessary actions, or None if no actions are removed."""
    for start in range(len(policy)):
        if not _is_playable(policy[:start], facts):
            return None  # a longer beginning cannot be played either
        for end in range(len(policy) - 1, start, -1):
            shorter = policy[:start] + policy[end:]
            if _is_playable(shorter, facts):
                return shorter
    return None


def _is_playable(actions: Iterable[Action], facts: FactsBySignature) -> bool:
    """Reimplement TextWorld's `State.is_sequence_applicable`."""
    changed: dict[Any, bool] = {}  # fact that the actions have changed -> whether it holds
    for action in actions:
        preconditions = action._pre_set
        if len(preconditions) != len(action.preconditions):
            return False  # TextWorld treats a precondition that is listed twice as not satisfied
        for fact in preconditions:
            if not (changed[fact] if fact in changed else fact in facts.get(fact.signature, ())):
                return False
        changed.update(dict.fromkeys(preconditions, False))
        changed.update(dict.fromkeys(action._post_set, True))
    return True


def _freeze(tree: Any) -> ActionTree:
    """Return TextWorld's `tree` as an `ActionTree`. The caller must not change `tree` afterwards."""
    key = hashlib.blake2b(digest_size=16)
    for chunk in _serialized_nodes(tree.roots):
        key.update(chunk)
    return ActionTree(tree, tuple(tree.flatten()), key.digest())


def _serialized_nodes(nodes: Iterable[Any]) -> Iterator[bytes]:
    for node in nodes:
        parents = []  # TextWorld sorts elements by their parents
        element = node.element
        yield _joined_hashes((element.action,))
        while element.parent is not None:
            element = element.parent
            parents.append(element.action)
        yield _joined_hashes(parents)
        yield b"("
        yield from _serialized_nodes(node.children)
        yield b")"


def _joined_hashes(actions: Iterable[Action]) -> bytes:
    return b"".join(map(_action_hash, actions))


@lru_cache(maxsize=100_000)
def _action_hash(action: Action) -> bytes:
    facts = [sorted(map(str, conditions)) for conditions in (action.preconditions, action.postconditions)]
    return hashlib.blake2b(repr((action.name, facts)).encode(), digest_size=16).digest()
