"""A word-level tokenizer for small trunks. The tokens are words, digits, punctuation and newlines."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from agents.protocol import AgentError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

TOKEN = r"\n|[a-z]+|[0-9]|[^\sa-z0-9]"
PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
MARKS = ("\n", *string.digits, *string.punctuation)


def word_tokenizer(vocabulary: Sequence[str], *, specials: bool = True) -> PreTrainedTokenizerFast:
    """Build a tokenizer for the words of `vocabulary`.

    If `specials` is True, add special tokens, the newline, digits and punctuation.
    """
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys((PAD, UNKNOWN, END, *MARKS) if specials else ())
    for entry in vocabulary:
        if not (entry_words := split_words(entry)):
            raise AgentError(f"each entry of a vocabulary needs a word, got {entry!r}")
        words |= dict.fromkeys(entry_words)
    if not words:
        raise AgentError("a word tokenizer needs at least one word; its vocabulary is empty")
    # without [UNK], the tokenizer raises an `Exception` for unknown words
    special_tokens = {"pad_token": PAD, "unk_token": UNKNOWN, "eos_token": END} if specials else {}
    backend = _word_level_tokenizer({word: index for index, word in enumerate(words)}, special_tokens.get("unk_token"))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, split_special_tokens=True, clean_up_tokenization_spaces=False, **special_tokens
    )


def known_words(tokenizer_json: Mapping[str, Any]) -> list[str]:
    """Return the words of a parsed `tokenizer.json` in order of token id, without special tokens."""
    ids: dict[str, int] = tokenizer_json["model"]["vocab"]
    return [word for word in sorted(ids, key=lambda word: ids[word]) if word not in (PAD, UNKNOWN, END)]


@cache
def textworld_vocabulary() -> tuple[str, ...]:
    """Return all words that TextWorld's games can print."""
    text = (files("agents") / "data" / "textworld_words.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words, digits, punctuation and newlines."""
    tokenizer = _splitter()
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


@cache
def _splitter() -> Tokenizer:
    return _word_level_tokenizer({"": 0}, None)


def _word_level_tokenizer(ids: dict[str, int], unknown_token: str | None) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel(ids) if unknown_token is None else WordLevel(ids, unk_token=unknown_token))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" *\n *"), "\n"),
            decoders.Replace(Regex(r"(?<=['-]) | (?=['-])|(?<=[0-9]) (?=[0-9])"), ""),  # it's, well-done, 10
        ]
    )
    return tokenizer
