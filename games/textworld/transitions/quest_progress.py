"""How far the quests of a game are, and which commands win: TextWorld's own account of it, as values.

The same rules as `QuestProgression`, `EventProgression` and `GameProgression.winning_policy` of
`textworld.generator.game`, over values that are never changed. Trees of actions are TextWorld's own, copied before
they are changed; what playing an action makes of a tree, and whether a policy can be shortened where certain facts
hold, is remembered, since neither depends on anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from games.textworld.transitions.rule_matching import Kinds

if TYPE_CHECKING:
    from textworld.generator import Game
    from textworld.logic import Action, Proposition


@dataclass(frozen=True, slots=True)
class Tree:
    """One event's tree of actions, its order of play and what tells it from others."""

    tree: Any
    """TextWorld's `ActionDependencyTree`; never changed."""
    order: tuple[Action, ...]
    """`tree.flatten()`."""
    key: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """How far one event of a quest is (TextWorld's `EventProgression`)."""

    condition: Action
    tree: Tree
    policy: tuple[Action, ...]
    triggered: bool = False
    untriggerable: bool = False

    @property
    def done(self) -> bool:
        return self.triggered or self.untriggerable

    @property
    def triggering_policy(self) -> tuple[Action, ...]:
        """What to do for the event to happen; () where it has happened or cannot."""
        return () if self.done else tuple(action for action in self.policy if action.name != "trigger")


@dataclass(frozen=True, slots=True)
class Quest:
    """How far a quest is (TextWorld's `QuestProgression`)."""

    wins: tuple[Event, ...]
    fails: tuple[Event, ...]
    repeatable: bool
    optional: bool
    completions: int = 0

    @property
    def completed(self) -> bool:
        return any(event.triggered for event in self.wins)

    @property
    def failed(self) -> bool:
        return any(event.triggered for event in self.fails) or any(event.untriggerable for event in self.wins)

    @property
    def key(self) -> bytes:
        """All that the quest's future depends on."""
        parts = [b"q%d" % self.completions]
        for event in (*self.wins, *self.fails):
            parts += (b"%d%d" % (event.triggered, event.untriggerable), event.tree.key, _spell(event.policy))
        return b"".join(parts)

    @property
    def tree(self) -> Tree | None:
        """The tree of the event that is nearest to happening."""
        events = [event for event in self.wins if event.triggering_policy]
        return min(events, key=lambda event: len(event.triggering_policy)).tree if events else None


class Quests:
    """The quests of one game. With `policies` also the way that wins, as TextWorld tracks it."""

    def __init__(self, game: Game, *, policies: bool) -> None:
        from textworld.generator.inform7 import Inform7Game

        self._policies = policies
        self._kb, self._inform7 = game.kb, Inform7Game(game)
        self._built: dict[tuple[Action, ...], Tree] = {}
        self._played: dict[tuple[bytes, Action], tuple[bool, bool, Tree]] = {}
        self._shortened: dict[tuple[Any, ...], tuple[Action, ...] | None] = {}
        self._ways: dict[tuple[bytes, ...], tuple[str, ...]] = {}
        self._quests = tuple(self._quest(quest) for quest in game.quests)

    def start(self, kinds: Kinds) -> tuple[Quest, ...]:
        """The quests at the start, where `kinds` are the facts."""
        return tuple(self._advance(quest, None, kinds) for quest in self._quests)

    def after(self, quests: Sequence[Quest], action: Action, kinds: Kinds) -> tuple[Quest, ...]:
        """The quests after an action that made `kinds` the facts."""
        return tuple(self._advance(quest, action, kinds) for quest in quests)

    def policy(self, quests: Sequence[Quest]) -> tuple[str, ...] | None:
        """The commands that win from here; None where TextWorld knows none (nor where the game is over)."""
        if not self._policies or not quests or self._over(quests):
            return None
        open_ones = [q for q in quests if q.wins and not (q.completed or q.failed) and not q.optional]
        trees = [quest.tree for quest in open_ones]
        if any(tree is None for tree in trees):
            return None
        return self._way([tree for tree in trees if tree is not None])

    def forget(self) -> None:
        """Forget what was worked out; only time is lost."""
        for memory in (self._built, self._played, self._shortened, self._ways):
            memory.clear()

    def _over(self, quests: Sequence[Quest]) -> bool:
        completed = all(quest.completed for quest in quests if quest.wins and not quest.optional)
        return completed or any(quest.failed for quest in quests if not quest.optional)

    def _way(self, trees: Sequence[Tree]) -> tuple[str, ...]:
        """The trees merged and played off (GameProgression.winning_policy)."""
        from textworld.generator.game import ActionDependencyTree, ActionDependencyTreeElement

        key = tuple(tree.key for tree in trees)
        if key not in self._ways:
            merged = ActionDependencyTree(
                kb=self._kb, element_type=ActionDependencyTreeElement, trees=[tree.tree for tree in trees]
            )
            way = [action for action in merged.flatten() if action.name != "trigger"]
            self._ways[key] = tuple(self._inform7.gen_commands_from_actions(way))
        return self._ways[key]

    def _quest(self, quest: Any) -> Quest:
        wins, fails = (tuple(self._event(event) for event in group) for group in (quest.win_events, quest.fail_events))
        return Quest(wins, fails, bool(quest.repeatable), bool(quest.optional))

    def _event(self, event: Any) -> Event:
        actions = tuple(event.actions) if self._policies else ()
        if not actions:
            return Event(event.condition, self._tree(()), ())
        return Event(event.condition, self._tree((*actions, event.condition)), (*actions, event.condition))

    def _tree(self, policy: tuple[Action, ...]) -> Tree:
        """The tree that TextWorld builds from a policy: last action first."""
        from textworld.generator.game import ActionDependencyTree, ActionDependencyTreeElement

        if policy not in self._built:
            tree = ActionDependencyTree(kb=self._kb, element_type=ActionDependencyTreeElement)
            for action in policy[::-1]:
                tree.push(action)
            self._built[policy] = _tree_of(tree)
        return self._built[policy]

    def _advance(self, quest: Quest, action: Action | None, kinds: Kinds) -> Quest:
        """A quest after an action (QuestProgression.update)."""
        if quest.completed or quest.failed:
            return quest
        wins, fails = (
            tuple(self._advance_event(event, action, kinds) for event in group) for group in (quest.wins, quest.fails)
        )
        if not any(event.triggered for event in wins):
            return replace(quest, wins=wins, fails=fails)
        if quest.repeatable:
            wins = tuple(replace(event, triggered=False) for event in wins)
        return replace(quest, wins=wins, fails=fails, completions=quest.completions + 1)

    def _advance_event(self, event: Event, action: Action | None, kinds: Kinds) -> Event:
        """An event after an action (EventProgression.update)."""
        if event.done:
            return event
        triggered = _holds(event.condition, kinds)
        if triggered:
            event = replace(event, triggered=True)
        shorter = self._shorten(event.tree.order, kinds)
        if shorter is not None:
            return replace(event, tree=self._tree(shorter), policy=shorter)
        if action is None or event.tree.tree.empty:
            return event
        changed, reversible, tree = self._played_in(event.tree, action)
        if not changed:  # the policy stays as it is, although the tree may have lost a leaf
            return event if tree.key == event.tree.key else replace(event, tree=tree)
        if not reversible:
            return replace(event, tree=tree, untriggerable=True)
        return replace(event, tree=tree, policy=tree.order)

    def _played_in(self, tree: Tree, action: Action) -> tuple[bool, bool, Tree]:
        """What playing an action makes of a tree: has it changed, can that be undone, the new tree."""
        key = (tree.key, action)
        if key not in self._played:
            copy = tree.tree.copy()
            changed, reverse = copy.remove(action)
            self._played[key] = (changed, reverse is not None, _tree_of(copy))
        return self._played[key]

    def _shorten(self, policy: tuple[Action, ...], kinds: Kinds) -> tuple[Action, ...] | None:
        """The policy without detours (EventProgression.compress_policy); None where it has none."""
        key = (_spell(policy), *(fact in kinds.get(fact.signature, ()) for fact in _asked(policy)))
        if key not in self._shortened:
            found = None
            while (shorter := _shorter(policy, kinds)) is not None:
                found = policy = shorter
            self._shortened[key] = found
        return self._shortened[key]


@lru_cache(maxsize=10_000)
def _asked(policy: tuple[Action, ...]) -> tuple[Proposition, ...]:
    """The facts that decide whether a policy can be shortened."""
    return tuple(dict.fromkeys(fact for action in policy for fact in action.preconditions))


def _holds(condition: Action, kinds: Kinds) -> bool:
    return all(fact in kinds.get(fact.signature, ()) for fact in condition.preconditions)


def _shorter(policy: tuple[Action, ...], kinds: Kinds) -> tuple[Action, ...] | None:
    """The first way to leave out a stretch of the policy so that the rest can still be played."""
    for start in range(len(policy)):
        world = _World(kinds)
        if start and not all(map(world.play, policy[:start])):
            return None  # nor can anything be played that begins in this way
        for end in range(len(policy) - 1, start, -1):
            rest = policy[end:]
            if all(map(world.copy().play, rest)):
                return policy[:start] + rest
    return None


class _World:
    """Facts, and what a sequence of actions has added and removed (State.is_sequence_applicable)."""

    __slots__ = ("_added", "_kinds", "_removed")

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._added: set[Any] = set()
        self._removed: set[Any] = set()

    def copy(self) -> _World:
        other = _World(self._kinds)
        other._added, other._removed = set(self._added), set(self._removed)
        return other

    def play(self, action: Action) -> bool:
        """Can it be played? Then play it."""
        needed = action._pre_set
        if len(needed) != len(action.preconditions):
            return False  # TextWorld counts a fact asked for twice as missing
        for fact in needed:
            if fact not in self._added and (fact in self._removed or fact not in self._kinds.get(fact.signature, ())):
                return False
        self._added -= needed
        self._removed |= needed
        self._added |= action._post_set
        self._removed -= action._post_set
        return True


def _tree_of(tree: Any) -> Tree:
    """A tree as a value; it must not be changed from now on."""
    key = hashlib.blake2b(digest_size=16)
    for node in _walk(tree.roots):
        key.update(node)
    return Tree(tree, tuple(tree.flatten()), key.digest())


def _walk(nodes: Iterable[Any]) -> Iterator[bytes]:
    """Every node, the ends of its children, and its element's parent, by which TextWorld sorts."""
    for node in nodes:
        parents = []
        element = node.element
        yield _spell((element.action,))
        while element.parent is not None:
            element = element.parent
            parents.append(element.action)
        yield _spell(parents)
        yield b"("
        yield from _walk(node.children)
        yield b")"


def _spell(actions: Iterable[Action]) -> bytes:
    return b"".join(map(_action_key, actions))


@lru_cache(maxsize=100_000)
def _action_key(action: Action) -> bytes:
    facts = [sorted(map(str, side)) for side in (action.preconditions, action.postconditions)]
    return hashlib.blake2b(repr((action.name, facts)).encode(), digest_size=16).digest()
