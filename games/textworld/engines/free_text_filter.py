"""The gatekeeper of stories without TextWorld's record: any words pass that cannot leave the story.

    what comes                                            what happens
    ----------------------------------------------------  --------------------------------------------------
    blanks and newlines at the ends                       trimmed
    what `games/textworld/engines/command_filter.py` stops for its characters        stopped
    save, restore, quit, restart, script, undo, ...       stopped, also behind `then` or `and`: they ask questions
      (`META`), debugging verbs, tw-...                     about files, end the episode or show what is hidden
    anything else                                         passes, word for word

What a word does is the story's affair; that it may do harm is why such stories run in a process of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from games.textworld.engines.command_filter import NO_SENSE, Verdict, _shape

META = frozenset(
    (
        "save",
        "restore",
        "load",
        "script",
        "noscript",
        "unscript",
        "transcript",
        "record",
        "recording",
        "unrecord",
        "replay",
        "command",
        "commands",
        "quit",
        "q",
        "restart",
        "reload",
        "undo",
        "o",
        "oops",
        "verify",
        "version",
        "notify",
        "nonotify",
        "brief",
        "verbose",
        "superbrief",
        "normal",
        "long",
        "short",
        "trace",
        "actions",
        "routines",
        "messages",
        "timers",
        "daemons",
        "changes",
        "tree",
        "scope",
        "purloin",
        "abstract",
        "gonear",
        "goto",
        "showobj",
        "showverb",
        "random",
        "rules",
        "test",
        "showme",
        "relations",
        "responses",
        "print_state",
        "restrict",
    )
)
"""Files; endings and turning back; the manner of telling; debugging, of Inform's and of TextWorld's."""
JOINTS = re.compile(r"\b(?:then|and)\b")


class FreeGuard:
    """Judges by the words alone."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        """Judge one command; what is admissible makes no difference."""
        text = command.strip(" \t\r\n")
        reason = _shape(text)
        if reason is not None:
            return Verdict(reason=reason, reply=NO_SENSE)
        for part in JOINTS.split(text.lower()):
            verb = part.split()[0] if part.split() else ""
            if verb in META or verb.startswith("tw-"):
                return Verdict(reason=f"{verb!r} is no move of the story", reply=NO_SENSE)
        return Verdict(command=text)
