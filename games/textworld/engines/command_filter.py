"""Filters that keep unsafe commands from a game's interpreter."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

MAX_LENGTH = 100  # the maximum length of an agent's command, in characters
MAX_LISTED_LENGTH = 198  # the maximum length of a listed command; the interpreter has room for 198 bytes
# other characters can hang the interpreter, as NUL and backslash do, or separate several commands
ALLOWED_CHARACTERS = re.compile(r"[A-Za-z0-9' -]+")
MULTIPLE_ACTION_WORDS = frozenset(("then", "and", "all", "everything", "each", "every", "both", "except", "but"))
SAFE_COMMANDS = frozenset(("goal", "help", "score", "wait"))
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
"""Verbs that access files, end the episode, undo turns or debug."""
SENTENCE_SEPARATORS = re.compile(r"\b(?:then|and)\b|[.,;\"]")
# replies to rejected commands; games also print them after commands that they do not understand
NO_VERB = "That's not a verb I recognise."
NO_SENSE = "I didn't understand that sentence."
NOTHING = "Nothing happens."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision of a filter on one command."""

    command: str | None = None  # the text to send to the interpreter, or None if the command is rejected
    reason: str | None = None  # why the command is rejected
    reply: str = ""  # replaces the interpreter's reply


class CommandFilter:
    """Accepts only safe commands of a TextWorld game. Each of `templates` is a pattern such as `take {o} from {c}`."""

    def __init__(self, templates: Iterable[str]) -> None:
        templates = tuple(templates)
        self._verbs_with_objects = {template.split()[0] for template in templates if "{" in template}
        self._fixed_commands = {template for template in templates if "{" not in template} | SAFE_COMMANDS

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        if command in admissible and can_be_sent(command):
            return Verdict(command=command)
        text = command.strip(" \t\r\n")
        if reason := _find_fault(text):
            return Verdict(reason=reason, reply=NO_SENSE)
        text = " ".join(text.split())
        if text in admissible:
            return Verdict(command=text)
        lower = ABBREVIATIONS.get(text.lower(), text.lower())
        lower = re.sub(r"^(x|look at) ", "examine ", lower)
        if MULTIPLE_ACTION_WORDS & set(lower.split()):
            return Verdict(reason="several things at once", reply=NO_SENSE)
        verb = lower.split()[0]
        # `go` is accepted only with a direction, because `go bed` would mean `enter bed`
        if lower in self._fixed_commands or verb in self._verbs_with_objects:
            return Verdict(command=lower)
        is_known_verb = any(verb == form.split()[0] for form in self._fixed_commands)
        return Verdict(reason="not a command of this game", reply=NO_SENSE if is_known_verb else NO_VERB)

    def may_pass(self, command: str) -> bool:
        """Return whether this filter can accept `command` unchanged."""
        if not can_be_sent(command) or "then" in command.split():
            return False
        return command in self._fixed_commands or command.split()[0] in self._verbs_with_objects


class FreeTextFilter:
    """Accepts free text for other Z-machine games, except verbs in `META` and unusual characters."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        text = command.strip(" \t\r\n") or command.strip("\t\r\n")[:1]  # a story may wait for a key, such as a blank
        if len(text) > MAX_LENGTH or not text.isascii() or not text.isprintable() or "\\" in text:
            return Verdict(reason=_find_fault(text), reply=NO_SENSE)
        for sentence in SENTENCE_SEPARATORS.split(text.lower()):
            verb, *_ = sentence.split() or [""]
            if verb in META or verb.startswith("tw-"):
                return Verdict(reason=f"{verb!r} is not a move of the story", reply=NO_SENSE)
        return Verdict(command=text)


class ListedFilter:
    """Accepts only admissible commands."""

    def check(self, command: str, admissible: Collection[str]) -> Verdict:
        text = command.strip()
        if text in admissible:
            return Verdict(command=text)
        return Verdict(reason="not an admissible command", reply=NOTHING)


def may_list_unsendable(entities: Iterable[str], templates: Iterable[str]) -> bool:
    """Return whether the game may list commands that `can_be_sent` rejects."""
    entities = tuple(entities)
    longest = max(map(len, entities), default=0)
    lengths = (len(template) + longest * template.count("{") for template in templates)
    return not all(map(can_be_sent, entities)) or max(lengths, default=0) > MAX_LISTED_LENGTH


def can_be_sent(command: str) -> bool:
    """Return whether the interpreter accepts the length and the characters of `command`."""
    sendable = (
        0 < len(command.strip()) <= len(command) <= MAX_LISTED_LENGTH and command.isascii() and command.isprintable()
    )
    # the parser ends a sentence at a full stop, and takes the words before a comma for a person's name
    return sendable and not set("\\.,;") & set(command)


def _find_fault(text: str) -> str:
    faults = {
        "an empty command": not text,
        f"more than {MAX_LENGTH} characters": len(text) > MAX_LENGTH,
        "characters that are not ASCII": not text.isascii(),
        "control characters": not text.isprintable(),
        "characters other than letters, digits, blanks, - and '": not ALLOWED_CHARACTERS.fullmatch(text),
    }
    return next((fault for fault, present in faults.items() if present), "")
