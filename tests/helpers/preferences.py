"""A tiny pretrained trunk, and preferences that its words can express."""

from pathlib import Path

from agents.text.preferences import Preference
from tests.helpers.models import tiny_lm, tokenizer

PROMPTS = ("you see a", "go north", "take the red", "drop a lamp", "the room", "south you go")


def save_trunk(folder: Path) -> Path:
    """Save a decoder of two layers as `save_pretrained` does, and return its folder."""
    words = tokenizer()
    tiny_lm("llama", len(words)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def separable(count: int) -> list[Preference]:
    """Return preferences for completions with the word key over completions with the word lamp."""
    fillers = ("red", "blue", "you", "see", "a", "room")
    return [
        Preference(
            prompt=PROMPTS[index % len(PROMPTS)],
            chosen=f" {fillers[index % 5]} key {fillers[index % 6]}",
            rejected=f" {fillers[index % 3]} lamp",
        )
        for index in range(count)
    ]
