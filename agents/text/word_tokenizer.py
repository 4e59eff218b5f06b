"""A tokenizer of whole words for small trunks: words, digits, punctuation marks and newlines are tokens.

Text is lower-cased and spaces vanish, so " Wedding" and "wedding" are the same token; a newline is a token
of its own, because it ends a command. Pieces of a text can be tokenized one by one and their ids joined,
as long as no piece ends inside a word. Sub-words, merges and training on text are left out: which words
there are is known beforehand (`agents/text/vocabulary_script.py` collects TextWorld's).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from agents.protocol import AgentError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

TOKEN = r"\n|[a-z]+|[0-9]|[^\sa-z0-9]"
"""One token of lower-cased text; whatever lies between the tokens is blank and vanishes."""
PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
MARKS = ("\n", *"0123456789", *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
"""What every open vocabulary contains besides its words."""


def word_tokenizer(vocabulary: Sequence[str], *, specials: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids are the words of `vocabulary`, in order of first appearance.

    With `specials` it also knows [PAD], [UNK] and [END] (ids 0, 1, 2), the newline, digits and ASCII
    punctuation, and an unknown word is [UNK]. Without, it has exactly the words given and an unknown word
    raises an Exception of `tokenizers`. Text that looks like a special token is text: "[PAD]" is three
    tokens. An entry may hold several words and blanks ("We had a"); one without a word is an AgentError.
    """
    from transformers import PreTrainedTokenizerFast

    names = (PAD, UNKNOWN, END) if specials else ()
    words = dict.fromkeys((*names, *(MARKS if specials else ()), *_words(vocabulary)))
    if not words:
        raise AgentError("a word tokenizer needs at least one word; its vocabulary is empty")
    roles = {"pad_token": PAD, "unk_token": UNKNOWN, "eos_token": END} if specials else {}
    backend = _backend({word: index for index, word in enumerate(words)}, UNKNOWN if specials else None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        **roles,
    )


@cache
def textworld_vocabulary() -> tuple[str, ...]:
    """Every word that a TextWorld game of the five families can print, sorted; newline and marks left out."""
    text = (files("agents") / "data" / "textworld_words.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def split_words(text: str) -> list[str]:
    """The tokens of a text as strings, whether or not a vocabulary knows them: "It's 10" is it ' s 1 0."""
    tokenizer = _splitter()
    cut = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return [word for word, _ in cut]


def _words(vocabulary: Iterable[str]) -> list[str]:
    words: list[str] = []
    for entry in vocabulary:
        cut = split_words(entry)
        if not cut:
            raise AgentError(f"a vocabulary's entry must hold a word, got {entry!r}")
        words += cut
    return words


@cache
def _splitter() -> Tokenizer:
    return _backend({"": 0}, None)


def _backend(ids: dict[str, int], unknown: str | None) -> Tokenizer:
    """Words joined again by `decode` read as commands do: "chef's half-bag 12", no blank around newlines."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    model = WordLevel(ids) if unknown is None else WordLevel(ids, unk_token=unknown)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" *\n *"), "\n"),
            decoders.Replace(Regex(r"(?<=['-]) | (?=['-])|(?<=[0-9]) (?=[0-9])"), ""),
        ]
    )
    return tokenizer
