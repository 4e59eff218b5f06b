r"""Filters that decide which commands reach an interpreter. A command that is stopped still costs the agent a turn.

The interpreter is a C program that trusts its input. Some texts hang the interpreter forever, some write files, and
some show or change hidden state. Others change the game without changing TextWorld's record of the game (its facts and
quests), so that all later admissible commands are wrong. `CommandFilter` therefore passes only commands that are known
to be safe:

    command                                               result
    ----------------------------------------------------  --------------------------------------------------
    blanks and newlines at both ends                      trimmed
    empty, or over 100 characters                         stopped
    control characters, newline, NUL, backslash           stopped (NUL and backslash hang the interpreter)
    anything but ASCII letters, digits, blank, - and '    stopped (`a. b` and `a, b` are several sentences)
    then, and, all, everything, each, every, both,        stopped (several actions in one turn), unless the
      except, but                                           whole command is admissible
    n, s, e, w, north..., l, i, inv, x, look at           replaced by the full form, such as go north, look,
                                                            inventory or examine
    go, look, inventory, prepare meal, ...                must match word for word (`go bed` is another action)
    a verb of the game's own rules, then any words        passes. Such verbs are take, open, put, insert, unlock,
                                                            eat, ... `take it`, `open the old chest` and unknown
                                                            nouns pass too
    an answer to a question (Which do you mean, the       stopped, because a reply such as `the old key` or
      old key or the new key?)                              `yes` has no verb. `take old key` passes
    goal, help, score, wait                               passes, because these only print text or do nothing
    every other verb: get, pick up, enter, quit,          stopped. Some make the record wrong (`get X`). Some
      restart, restore, save, script, undo, again, oops,    are meta-verbs (`tw-...`, `print_state`, `restrict
      brief, notify, version, verify, tw-...                commands`). Players need none of these verbs

`FreeTextFilter` is for stories without a record from TextWorld. It checks the characters in the same way. It also stops
meta-verbs (`META`) at the start of a command and after `then` or `and`. All other words pass. The effects of these
words are unknown, so such stories run in a child process.

The environment itself rejects commands after the end of a game, so the filters do not check for the end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LIMIT = 100
"""The maximum length of a command in characters. The interpreter truncates commands at about 198 bytes, and the buffer
of Inform, the system in which TextWorld's games are written, is shorter."""
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
"""Verbs that access files, end the episode, undo turns, change the output format, or debug Inform or TextWorld."""
JOINTS = re.compile(r"\b(?:then|and)\b")
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
"""The replies to stopped commands. They are the interpreter's own replies to commands that it does not understand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a filter. If the command passes, `reason` is None. If it is stopped, `command` is None.

    Attributes:
        command: the text to send to the interpreter.
        reason: a message for the user that says why the command is stopped.
        reply: the text that replaces the interpreter's reply if the command is stopped.
    """

    command: str | None = None
    reason: str | None = None
    reply: str = ""


class CommandFilter:
    """Filters the commands of one TextWorld game.

    `templates` are the command templates of the game's rules, such as `go east` or `take {o} from {c}`.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._open = {template.split()[0] for template in templates if "{" in template}
        self._exact = {template for template in templates if "{" not in template} | HARMLESS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Check one command. `admissible` lists the commands that are admissible in the current state."""
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
        """Return whether `command` can pass unchanged in some state of the game.

        This method is used to check commands that are loaded from files.
        """
        if _malformed(command) is not None or "then" in command.split():
            return False
        return command in self._exact or command.split()[0] in self._open


class FreeTextFilter:
    """Filters the commands of a story that has no record from TextWorld. Only the words of a command are checked."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Check one command. `admissible` is ignored."""
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
    """Return a description of what is wrong with the characters of `text`, or None if all are allowed."""
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
