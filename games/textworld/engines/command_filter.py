r"""Filters that decide which commands reach an interpreter. A command that a filter stops costs a turn.

The interpreter is a C program that trusts its input: some texts hang it forever, some write files, some show
or change hidden state, and some change the game but not TextWorld's record of it, so that all later admissible
commands are wrong. `CommandFilter` therefore passes only what is known to be safe:

    command                                               result
    ----------------------------------------------------  --------------------------------------------------
    blanks and newlines at both ends                      trimmed
    empty; over 100 characters                            stopped
    control characters, newline, NUL, backslash           stopped (the last two hang the interpreter)
    anything but ASCII letters, digits, blank, - and '    stopped (`a. b` and `a, b` are several sentences)
    then, and, all, everything, each, every, both,        stopped (several actions in one turn), unless the
      except, but                                           whole command is admissible
    n, s, e, w, north...; l; i, inv; x, look at           replaced by go north, look, inventory, examine
    go, look, inventory, prepare meal, ...                must match word for word (`go bed` is another action)
    a verb of the game's own rules, then any words        passes: take, open, put, insert, unlock, eat, ...; also
                                                            `take it`, `open the old chest`, unknown nouns
    an answer to a question (Which do you mean, the       stopped: a reply such as `the old key` or `yes` begins
      old key or the new key?)                              with no verb; `take old key` passes
    goal, help, score, wait                               passes: they print something or do nothing
    every other verb: get, pick up, enter, quit,          stopped: some break the record (`get X`), some are
      restart, restore, save, script, undo, again, oops,    meta-verbs (`tw-...`, `print_state`, `restrict
      brief, notify, version, verify, tw-...                commands`), none is needed

`FreeTextFilter`, for stories without TextWorld's record, checks the characters in the same way and stops the
meta-verbs (`META`), also after `then` or `and`. All other words pass: what they do is unknown, so these stories run
in a child process. The environment itself rejects commands after the end.
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
save restore load script noscript unscript transcript record recording unrecord replay command commands
quit q restart reload undo o oops verify version
notify nonotify brief verbose superbrief normal long short
trace actions routines messages timers daemons changes tree scope purloin abstract gonear goto showobj showverb random
rules test showme relations responses print_state restrict
"""
META = frozenset(_META.split())
"""Verbs that use files; that end the episode or go back; that change the output; that debug Inform or TextWorld."""
JOINTS = re.compile(r"\b(?:then|and)\b")
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
"""The interpreter's own words, so that a stopped command reads like one that was not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a filter: exactly one of `command` and `reason` is not None."""

    command: str | None = None
    """The text to send to the interpreter."""
    reason: str | None = None
    """Why the command is stopped, for people."""
    reply: str = ""
    """The game's text in place of the interpreter's."""


class CommandFilter:
    """Filters the commands of one TextWorld game.

    `templates` are the commands of its rules: `go east`, `take {o} from {c}`.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._open = {template.split()[0] for template in templates if "{" in template}
        self._exact = {template for template in templates if "{" not in template} | HARMLESS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Check one command, where `admissible` are the commands that are admissible now."""
        text = command.strip(" \t\r\n")
        reason = _malformed(text)
        if reason is not None:
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
        """Return whether this exact text can pass in some state of the game; checks commands read from files."""
        if _malformed(command) is not None or "then" in command.split():
            return False
        return command in self._exact or command.split()[0] in self._open


class FreeTextFilter:
    """Filters the commands of a story without TextWorld's record, by their words alone."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Check one command; `admissible` makes no difference."""
        text = command.strip(" \t\r\n")
        reason = _malformed(text)
        if reason is not None:
            return Verdict(reason=reason, reply=NO_SENSE)
        for part in JOINTS.split(text.lower()):
            verb = part.split()[0] if part.split() else ""
            if verb in META or verb.startswith("tw-"):
                return Verdict(reason=f"{verb!r} is not a move of the story", reply=NO_SENSE)
        return Verdict(command=text)


def _malformed(text: str) -> str | None:
    """Return what is wrong with the characters of `text`, or None."""
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
