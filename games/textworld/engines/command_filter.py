r"""Filters that decide which commands reach a game's interpreter. A stopped command still costs the agent a turn.

The interpreter is a C program that trusts its input. Some texts hang it forever, some write files, and some show or
change hidden state. Others change the game, but not TextWorld's record of the game (its facts and quests), so that
TextWorld lists wrong admissible commands from then on. `CommandFilter` passes only commands that are known to be safe:

    command                                               result
    ----------------------------------------------------  --------------------------------------------------
    blanks and newlines at both ends                      trimmed
    listed by the game, such as take key #2               passes if `can_be_sent` returns True
    empty, or over 100 characters                         stopped
    control characters, newline, NUL, backslash           stopped (NUL and backslash hang the interpreter)
    anything but ASCII letters, digits, blank, - and '    stopped (`a. b` and `a, b` are several sentences)
    then, and, all, everything, each, every, both,        stopped (several actions in one turn), unless the
      except, but                                           whole command is admissible
    n, s, e, w, north..., l, i, inv, x, look at           replaced by the full form, such as go north, look,
                                                            inventory or examine
    go, look, inventory, prepare meal, ...                passes only as a whole command, such as `go north`. `go bed`
                                                            is stopped, because it would mean `enter bed`
    a verb of the game's own rules, then any words        passes. Such verbs are take, open, put, insert, unlock,
                                                            eat, ... `take it`, `open the old chest` and unknown
                                                            nouns pass too
    an answer to a question (Which do you mean, the       stopped, because a reply such as `the old key` or
      old key or the new key?)                              `yes` has no verb. `take old key` passes
    goal, help, score, wait                               passes, because these only print text or do nothing
    every other verb: get, pick up, quit, restore,        stopped. Some change the game but not the record
      save, undo, again, version, tw-..., print_state       (`get X`). Some are meta-verbs. None is needed

`FreeTextFilter` is for stories that have no `.json` from TextWorld. It passes an empty command, and all printable ASCII
characters except the backslash. It stops meta-verbs (`META`) at the start of a command and after `then`, `and` or a
punctuation mark. All other words pass. Their effects are unknown, so such stories run in a child process.

`ListedFilter` is for `.tw-pddl` games. It passes only the commands that the game lists.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LIMIT = 100  # the maximum length of an agent's command, in characters
LISTED_LIMIT = 198  # that of a command which the game lists; the interpreter has room for 198 bytes
PLAIN = re.compile(r"[A-Za-z0-9' -]+")
SEVERAL = frozenset(("then", "and", "all", "everything", "each", "every", "both", "except", "but"))
HARMLESS = frozenset(("goal", "help", "score", "wait"))
DIRECTIONS = ("north", "south", "east", "west")
ABBREVIATIONS = {
    **{word: f"go {word}" for word in DIRECTIONS},
    **{word[0]: f"go {word}" for word in DIRECTIONS},
    **{f"go {word[0]}": f"go {word}" for word in DIRECTIONS},
    "l": "look",
    "i": "inventory",
    "inv": "inventory",
    "z": "wait",
}
_META = """
save restore script noscript unscript transcript recording unrecord replay
quit q restart reload undo
purloin abstract gonear goto showobj showverb showme print_state restrict
"""
META = frozenset(_META.split())
"""The verbs that `FreeTextFilter` stops, besides those that begin with `tw-`. They access files, end the episode, undo
turns, or only debug Inform or TextWorld. Meta-verbs that are also ordinary verbs, such as `load`, are not listed."""
JOINTS = re.compile(r"\b(?:then|and)\b|[.,;\"]")
# replies to stopped commands, which games also print after commands that they do not understand
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
NOTHING = "Nothing happens."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a filter.

    If the command passes, `command` is the text to send to the interpreter. Otherwise `reason` tells the user why it
    was stopped, and `reply` replaces the interpreter's reply.
    """

    command: str | None = None
    reason: str | None = None
    reply: str = ""


class CommandFilter:
    """Filters the commands of a game. `templates` are its command templates, such as `take {o} from {c}`."""

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._open = {template.split()[0] for template in templates if "{" in template}
        self._exact = {template for template in templates if "{" not in template} | HARMLESS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Return the verdict on `command`. `admissible` lists the commands that are admissible in this state."""
        if command in admissible and can_be_sent(command):
            return Verdict(command=command)
        text = command.strip(" \t\r\n")
        if reason := _malformed(text):
            return Verdict(reason=reason, reply=NO_SENSE)
        text = " ".join(text.split())
        if text in admissible:
            return Verdict(command=text)
        lower = ABBREVIATIONS.get(text.lower(), text.lower())
        lower = re.sub(r"^(x|look at) ", "examine ", lower)
        if SEVERAL & set(lower.split()):
            return Verdict(reason="several things at once", reply=NO_SENSE)
        verb = lower.split()[0]
        if lower in self._exact or verb in self._open:
            return Verdict(command=lower)
        known = any(verb == form.split()[0] for form in self._exact)
        return Verdict(reason="not a command of this game", reply=NO_SENSE if known else NO_VERB)

    def may_pass(self, command: str) -> bool:
        """Return whether this filter passes `command` unchanged in at least one state of the game."""
        if not can_be_sent(command) or "then" in command.split():
            return False
        return command in self._exact or command.split()[0] in self._open


class FreeTextFilter:
    """Filters the commands of a story that has no `.json` from TextWorld."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Return the verdict on `command`. Empty commands and single blanks pass: a story may wait for a key."""
        text = command.strip(" \t\r\n") or command.strip("\t\r\n")[:1]
        if len(text) > LIMIT or not text.isascii() or not text.isprintable() or "\\" in text:
            return Verdict(reason=_malformed(text), reply=NO_SENSE)
        for part in JOINTS.split(text.lower()):
            verb, *_ = part.split() or [""]
            if verb in META or verb.startswith("tw-"):
                return Verdict(reason=f"{verb!r} is not a move of the story", reply=NO_SENSE)
        return Verdict(command=text)


class ListedFilter:
    """Filters the commands of a `.tw-pddl` game, in which only the listed commands have an effect."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        text = command.strip()
        if text in admissible:
            return Verdict(command=text)
        return Verdict(reason="not an admissible command", reply=NOTHING)


def may_list_unsendable(names: Iterable[str], templates: Iterable[str]) -> bool:
    """Return whether a game with these entity names and command templates may list a command that cannot be sent."""
    names = tuple(names)
    longest = max(map(len, names), default=0)
    lengths = (len(template) + longest * template.count("{") for template in templates)
    return not all(map(can_be_sent, names)) or max(lengths, default=0) > LISTED_LIMIT


def can_be_sent(command: str) -> bool:
    """Return whether a command that a game lists, such as `take key #2`, can be sent to the interpreter.

    The parser ends a sentence at a full stop, and treats the words before a comma as the name of a person. TextWorld
    sends non-ASCII characters in an encoding that the interpreter does not read.
    """
    sendable = 0 < len(command.strip()) <= len(command) <= LISTED_LIMIT and command.isascii() and command.isprintable()
    return sendable and not set("\\.,;") & set(command)


def _malformed(text: str) -> str:
    """Return why `text` is not a well-formed command, such as `control characters`, or '' if it is well-formed."""
    faults = {
        "an empty command": not text,
        f"more than {LIMIT} characters": len(text) > LIMIT,
        "characters that are not ASCII": not text.isascii(),
        "control characters": not text.isprintable(),
        "characters other than letters, digits, blanks, - and '": not PLAIN.fullmatch(text),
    }
    return next((fault for fault, found in faults.items() if found), "")
