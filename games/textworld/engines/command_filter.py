r"""Filters that decide which commands reach a game's interpreter.

A stopped command still costs the agent a turn. The interpreter trusts its input. Some texts hang it, some write files,
and some change the game but not TextWorld's record. `CommandFilter` passes only commands that are known to be safe:

    command                                     result
    ------------------------------------------  ------------------------------------------------
    listed by the game, such as take key #2     passes if `can_be_sent`
    take, open, ... and any words               passes if a rule of the game begins with the verb
    go north, look, ...                         passes as a whole. `go bed` would mean `enter bed`
    goal, help, score, wait                     passes
    n, l, i, x, look at, ...                    replaced by the full form
    empty, or over 100 characters               stopped
    other than A-Z a-z 0-9 blank - '            stopped. NUL and backslash hang the interpreter
    then, and, all, except, ...                 stopped, because they mean several actions
    all others, such as get, quit, save         stopped
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
"""Verbs that access files, end the episode, undo turns or debug. Ordinary verbs, such as `load`, are not listed."""
JOINTS = re.compile(r"\b(?:then|and)\b|[.,;\"]")
# replies to stopped commands, which games also print after commands that they do not understand
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
NOTHING = "Nothing happens."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a filter."""

    command: str | None = None  # the text to send to the interpreter, or None if it is stopped
    reason: str | None = None  # why the command is stopped
    reply: str = ""  # replaces the interpreter's reply


class CommandFilter:
    """Filters the commands of a TextWorld game. A template is, for example, `take {o} from {c}`."""

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._open = {template.split()[0] for template in templates if "{" in template}
        self._exact = {template for template in templates if "{" not in template} | HARMLESS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
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
        """Return whether this filter passes `command` unchanged in some state of the game."""
        if not can_be_sent(command) or "then" in command.split():
            return False
        return command in self._exact or command.split()[0] in self._open


class FreeTextFilter:
    """Filters the commands of a story without TextWorld's record. It stops `META` and unusual characters."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        text = command.strip(" \t\r\n") or command.strip("\t\r\n")[:1]  # a story may wait for a key, such as a blank
        if len(text) > LIMIT or not text.isascii() or not text.isprintable() or "\\" in text:
            return Verdict(reason=_malformed(text), reply=NO_SENSE)
        for part in JOINTS.split(text.lower()):
            verb, *_ = part.split() or [""]
            if verb in META or verb.startswith("tw-"):
                return Verdict(reason=f"{verb!r} is not a move of the story", reply=NO_SENSE)
        return Verdict(command=text)


class ListedFilter:
    """Passes only the commands that a `.tw-pddl` game lists."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        text = command.strip()
        if text in admissible:
            return Verdict(command=text)
        return Verdict(reason="not an admissible command", reply=NOTHING)


def may_list_unsendable(names: Iterable[str], templates: Iterable[str]) -> bool:
    """Return whether a game with these names and templates may list a command that cannot be sent."""
    names = tuple(names)
    longest = max(map(len, names), default=0)
    lengths = (len(template) + longest * template.count("{") for template in templates)
    return not all(map(can_be_sent, names)) or max(lengths, default=0) > LISTED_LIMIT


def can_be_sent(command: str) -> bool:
    """Return whether a listed command, such as `take key #2`, can be sent to the interpreter."""
    sendable = 0 < len(command.strip()) <= len(command) <= LISTED_LIMIT and command.isascii() and command.isprintable()
    # the parser ends a sentence at a full stop, and takes the words before a comma for a person's name
    return sendable and not set("\\.,;") & set(command)


def _malformed(text: str) -> str:
    """Return the fault of `text`, such as `control characters`, or '' if there is none."""
    faults = {
        "an empty command": not text,
        f"more than {LIMIT} characters": len(text) > LIMIT,
        "characters that are not ASCII": not text.isascii(),
        "control characters": not text.isprintable(),
        "characters other than letters, digits, blanks, - and '": not PLAIN.fullmatch(text),
    }
    return next((fault for fault, found in faults.items() if found), "")
