"""Hostile commands for fuzzing: a corpus, and a generator of random commands.

The commands of the corpus crashed, or might crash, the interpreter.
"""

import random
from collections.abc import Callable, Sequence

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


class CommandGenerator:
    """A generator of random commands for one game. Some of them are derived from the currently admissible commands.

    Args:
        commands: examples of the game's commands.
        words: examples of the game's words.
    """

    def __init__(self, seed: int | str, commands: Sequence[str], words: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._verbs = sorted({command.split()[0] for command in commands} | set(VERBS))
        self._words = sorted(words) or ["key"]
        methods: list[tuple[Callable[[Sequence[str]], str], int]] = [
            (self._admissible, 25), (self._corpus, 17), (self._bytes, 8), (self._unicode, 8), (self._pronoun, 8),
            (self._phrase, 16), (self._mutated, 12), (self._long, 2), (self._injected, 4),
        ]  # fmt: skip
        self._methods = [method for method, _ in methods]
        self._weights = [weight for _, weight in methods]

    def next(self, admissible: Sequence[str]) -> str:
        """Return the next command. About a quarter of the commands are admissible, so that the game advances."""
        return self._random.choices(self._methods, self._weights)[0](admissible)

    def _admissible(self, admissible: Sequence[str]) -> str:
        return self._random.choice(admissible)

    def _corpus(self, admissible: Sequence[str]) -> str:
        return self._random.choice(CORPUS + TAGS)

    def _bytes(self, admissible: Sequence[str]) -> str:
        return self._random.randbytes(self._random.randrange(40)).decode("latin-1")

    def _unicode(self, admissible: Sequence[str]) -> str:
        def character() -> str:
            low, high = self._random.choice([*RANGES, (32, 127)])
            return chr(self._random.randrange(low, high))

        return "".join(character() for _ in range(self._random.randrange(30)))

    def _pronoun(self, admissible: Sequence[str]) -> str:
        start = f"{self._random.choice(self._verbs)} {self._random.choice(PRONOUNS)}"
        return f"{start} {self._noun(admissible)}" if self._random.random() < 0.3 else start

    def _phrase(self, admissible: Sequence[str]) -> str:
        words = [self._random.choice([*self._words, *LITTLE]) for _ in range(self._random.randrange(5))]
        return " ".join([self._random.choice(self._verbs), *words])

    def _mutated(self, admissible: Sequence[str]) -> str:
        words = self._random.choice(admissible).split()
        at = self._random.randrange(len(words))
        change = self._random.randrange(5)
        if change == 0:
            words[at] = self._random.choice([*self._words, *LITTLE, *self._verbs])
        elif change == 1:
            del words[at]
        elif change == 2:
            words.insert(at, self._random.choice([*LITTLE, *PRONOUNS]))
        elif change == 3:
            words[at] = words[at].upper()
        else:
            return self._flipped(" ".join(words))
        return " ".join(words)

    def _long(self, admissible: Sequence[str]) -> str:
        return (self._admissible(admissible) + self._random.choice([" ", "", ". ", "\n"])) * self._random.randrange(
            2, 400
        )

    def _injected(self, admissible: Sequence[str]) -> str:
        text = self._admissible(admissible)
        at = self._random.randrange(len(text) + 1)
        return text[:at] + self._random.choice(["\0", "\\", "\n", "\r", ".", ",", ";", '"', "\x1b", "\x7f"]) + text[at:]

    def _flipped(self, text: str) -> str:
        at = self._random.randrange(len(text))
        return text[:at] + chr(ord(text[at]) ^ 1 << self._random.randrange(7)) + text[at + 1 :]

    def _noun(self, admissible: Sequence[str]) -> str:
        return self._random.choice(self._words)
