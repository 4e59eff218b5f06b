r"""The one gatekeeper: which commands reach a TextWorld interpreter. Whatever it stops costs a turn.

The interpreter is a C program that trusts its input: some texts hang it for ever, some write files, some show
or change hidden state, and some are carried out in the game but not in TextWorld's record of it, so that the
admissible commands are wrong from then on. So nothing passes that is not known to be safe:

    what comes                                            what happens
    ----------------------------------------------------  --------------------------------------------------
    blanks and newlines at the ends                       trimmed
    empty; over 100 characters                            stopped
    control characters, newline, NUL, backslash           stopped (the last two hang the interpreter)
    anything but ASCII letters, digits, blank, - and '    stopped (`a. b` and `a, b` are several sentences)
    then, and, all, everything, each, every, both,        stopped (several actions in one turn), unless the
      except, but                                           command is admissible word for word
    n, s, e, w, north...; l; i, inv; x, look at           the long form: go north, look, inventory, examine
    go, look, inventory, prepare meal, ...                must match word for word (`go bed` is another action)
    a verb of the game's own rules, then any words        passes: take, open, put, insert, unlock, eat, ...; also
                                                            `take it`, `open the old chest`, unknown nouns
    an answer to a question (Which do you mean, the       stopped: a reply such as `the old key` or `yes` begins
      old key or the new key?)                              with no verb; say `take old key`
    a command after the end                               never comes here: the environment asks for a reset
    goal, help, score, wait                               pass: they tell something or do nothing
    every other verb: get, pick up, enter, quit,          stopped: some break the record (`get X`), some are
      restart, restore, save, script, undo, again, oops,    meta-verbs (`tw-...`, `print_state`, `restrict
      brief, notify, version, verify, tw-...                commands`), none is needed

Checking needs no TextWorld; what a verb does is left to the game.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LIMIT = 100
"""Characters; the interpreter cuts at about 198 bytes and Inform's own buffer is shorter."""
PLAIN = re.compile(r"[A-Za-z0-9' -]+")
SEVERAL = frozenset(("then", "and", "all", "everything", "each", "every", "both", "except", "but"))
HARMLESS = frozenset(("goal", "help", "score", "wait"))
DIRECTIONS = ("north", "south", "east", "west")
SHORT = {
    **{word: f"go {word}" for word in DIRECTIONS},
    **{word[0]: f"go {word}" for word in DIRECTIONS},
    **{f"go {word[0]}": f"go {word}" for word in DIRECTIONS},
    "l": "look",
    "i": "inventory",
    "inv": "inventory",
    "z": "wait",
}
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
"""The interpreter's own words, so that a stopped command reads like one that was not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gatekeeper makes of a command: exactly one of `command` and `reason` is not None."""

    command: str | None = None
    """The text that the interpreter gets."""
    reason: str | None = None
    """Why it gets none, for people."""
    reply: str = ""
    """What the game answers in the interpreter's place."""


class CommandFilter:
    """The gatekeeper of one game. `templates` are its rules' commands: `go east`, `take {o} from {c}`."""

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._open = {template.split()[0] for template in templates if "{" in template}
        self._exact = {template for template in templates if "{" not in template} | HARMLESS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Judge one command; `admissible` are the commands that are admissible now."""
        text = command.strip(" \t\r\n")
        reason = _shape(text)
        if reason is not None:
            return Verdict(reason=reason, reply=NO_SENSE)
        words = text.split()
        text = " ".join(words)
        if text in admissible:
            return Verdict(command=text)
        lower = " ".join(words).lower()
        lower = SHORT.get(lower, lower)
        lower = re.sub(r"^(x|look at) ", "examine ", lower)
        if SEVERAL & set(lower.split()):
            return Verdict(reason="several things at once", reply=NO_SENSE)
        if lower in self._exact or (lower.split()[0] in self._open):
            return Verdict(command=lower)
        known = any(lower.split()[0] == form.split()[0] for form in self._exact)
        return Verdict(reason="not a command of this game", reply=NO_SENSE if known else NO_VERB)

    def may_pass(self, command: str) -> bool:
        """Could this text, as it is, be admissible or pass in some state of the game? For commands out of files."""
        if _shape(command) is not None or "then" in command.split():
            return False
        return command in self._exact or command.split()[0] in self._open


def _shape(text: str) -> str | None:
    """What is wrong with the characters of `text`; None where nothing is."""
    if not text:
        return "an empty command"
    if len(text) > LIMIT:
        return f"more than {LIMIT} characters"
    if not text.isascii():
        return "characters that are not ASCII"
    if not text.isprintable():
        return "control characters"
    if not PLAIN.fullmatch(text):
        return "characters other than letters, digits, blanks, - and '"
    return None
