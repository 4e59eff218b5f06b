"""Hostile commands for fuzzing: a corpus, and a generator of random commands.

The commands of the corpus crashed, or might crash, the interpreter.
"""

import random
from collections.abc import Sequence

CORPUS = [
    "\\boxed{go east}", "\\n", "\\help", "\\", "a\0b", "\0", "go east\0", "\x1b[2J", "look\rlook", "go\teast",
    "go east\nopen door", "take key. go east", "go east; go west", "take key, go east", "go east then go west",
    "take all", "take key and chest", "take everything from chest", "take each key", "take all except key",
    "get old key", "pick up old key", "pick old key up", "hold key", "enter bed", "stand on bed", "sit on bed",
    "go bed", "go wooden door", "go in", "exit", "wear key", "push chest", "quit", "q", "QUIT", "restart",
    "restore", "save", "script", "script on", "transcript", "undo", "again", "g", "oops", "o", "brief", "verbose",
    "superbrief", "notify", "notify off", "version", "verify", "pronouns", "nouns", "tw-extra-infos score",
    "tw-trace-actions", "tw-print max_score", "tw-print player id", "print_state", "enable print state option",
    "restrict commands", "actions", "rules all", "showme", "test me", "purloin key", "abstract key to chest",
    "tree", "gonear chest", "random", "yes", "no", "y", "n.s", "", " ", "\n", "é", "\ud800", "🔑", "take clé",
    "x" * 5000, "take " + "key " * 60, "<description>", "[looking]", "*** The End ***", "\"look\"", "(look)",
]  # fmt: skip
"""Commands that the command filter must refuse in every game."""
TAGS = ["<score>7</score>", "[taking the key - succeeded]", "tw-extra-infos moves", "> look", "%s%n", "{o}", "$$$$"]
PRONOUNS = ["it", "them", "him", "her", "me", "myself", "self", "that", "this", "one", "the other", "here", "there"]
LITTLE = ["in", "on", "off", "up", "down", "out", "of", "from", "into", "onto", "with", "to", "under", "the", "a", "my"]
VERBS = ["take", "get", "drop", "put", "insert", "open", "close", "lock", "unlock", "eat", "cook", "slice", "examine"]
RANGES = [(0, 32), (127, 160), (160, 0x250), (0x300, 0x370), (0x2000, 0x2070), (0xD800, 0xE000), (0x1F300, 0x1F700)]


# kinds of commands and their relative frequencies
WEIGHTS = {"admissible": 25, "corpus": 17, "bytes": 8, "unicode": 8, "pronoun": 8, "phrase": 16, "mutated": 12,
           "long": 2, "injected": 4}  # fmt: skip


class CommandGenerator:
    """A generator of random commands for one game, from examples of its commands and words."""

    def __init__(self, seed: int | str, commands: Sequence[str], words: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._verbs = sorted({command.split()[0] for command in commands} | set(VERBS))
        self._words = sorted(words) or ["key"]

    def next(self, admissible: Sequence[str]) -> str:
        """Return the next command. About a quarter of the commands are admissible, so that the game advances."""
        rng = self._random
        match rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]:
            case "admissible":
                return rng.choice(admissible)
            case "corpus":
                return rng.choice(CORPUS + TAGS)
            case "bytes":
                return rng.randbytes(rng.randrange(40)).decode("latin-1")
            case "unicode":
                return "".join(chr(rng.randrange(*rng.choice([*RANGES, (32, 127)]))) for _ in range(rng.randrange(30)))
            case "pronoun":
                start = f"{rng.choice(self._verbs)} {rng.choice(PRONOUNS)}"
                return f"{start} {rng.choice(self._words)}" if rng.random() < 0.3 else start
            case "phrase":
                words = [rng.choice([*self._words, *LITTLE]) for _ in range(rng.randrange(5))]
                return " ".join([rng.choice(self._verbs), *words])
            case "mutated":
                return self._mutated(rng.choice(admissible))
            case "long":
                return (rng.choice(admissible) + rng.choice([" ", "", ". ", "\n"])) * rng.randrange(2, 400)
            case _:
                text = rng.choice(admissible)
                at = rng.randrange(len(text) + 1)
                return text[:at] + rng.choice('\0\\\n\r.,;"\x1b\x7f') + text[at:]

    def _mutated(self, command: str) -> str:
        words = command.split()
        at = self._random.randrange(len(words))
        match self._random.randrange(5):
            case 0:
                words[at] = self._random.choice([*self._words, *LITTLE, *self._verbs])
            case 1:
                del words[at]
            case 2:
                words.insert(at, self._random.choice([*LITTLE, *PRONOUNS]))
            case 3:
                words[at] = words[at].upper()
            case _:
                text = " ".join(words)
                place = self._random.randrange(len(text))
                return text[:place] + chr(ord(text[place]) ^ 1 << self._random.randrange(7)) + text[place + 1 :]
        return " ".join(words)
