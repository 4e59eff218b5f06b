"""Tokenizes a stream piece by piece, as if it were one text."""

import json
from collections.abc import Sequence
from typing import Any

from agents.protocol import AgentError


class StreamTokenizer:
    """Encodes and decodes a stream, the token sequence of an episode, piece by piece.

    Only the first piece gets special tokens (BOS) and SentencePiece's leading space. `tokenizer` is a fast tokenizer of
    the `transformers` library.
    """

    def __init__(self, tokenizer: Any, *, split_special_tokens: bool = False) -> None:
        self.tokenizer = tokenizer
        self.start = _start(tokenizer)
        self._options = {"split_special_tokens": True} if split_special_tokens else {}
        self._has_words = type(tokenizer.backend_tokenizer.model).__name__ == "WordLevel"
        self.unknown: set[str] = set()  # at most one word per text
        self._continuation = _without_blank(tokenizer)
        if self._continuation is not None:
            self._continuation.encode_special_tokens = split_special_tokens

    def begin(self, text: str) -> list[int]:
        """Return the tokens of a stream's first piece."""
        tokens = self._whole(text) if text else []
        return tokens if tokens[: len(self.start)] == self.start else self.start + tokens

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a later piece."""
        if not text:
            return []
        if self._continuation is None:
            return self._whole(text)
        return list(self._continuation.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of a later piece."""
        decoder = self.tokenizer if self._continuation is None else self._continuation
        return str(decoder.decode(list(tokens), skip_special_tokens=skip_special_tokens))

    def _whole(self, text: str) -> list[int]:
        has_unknown = self.tokenizer.unk_token is not None
        if self._has_words and not has_unknown and (word := unknown_word(self.tokenizer, text)):
            raise AgentError(
                f"the model does not know the word {word!r}; expected words of the games on which it was trained"
            )
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False, **self._options)
        if self._has_words and has_unknown and self.tokenizer.unk_token_id in tokens:
            self.unknown |= {unknown_word(self.tokenizer, text) or text}
        return tokens


def unknown_word(tokenizer: Any, text: str) -> str | None:
    """Return the first word that a word-level tokenizer does not know, or None."""
    backend = tokenizer.backend_tokenizer
    normalized = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
    words = (word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized))
    return next((word for word in words if backend.token_to_id(word) is None), None)


def _start(tokenizer: Any) -> list[int]:
    """Return the special tokens that a tokenizer adds at the start of a text."""
    if not tokenizer.encode(""):  # a tokenizer without special tokens may not know the letter a
        return []
    with_special, plain = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    starts = (i for i in range(len(with_special)) if with_special[i : i + len(plain)] == plain)
    return list(with_special[: next(starts, 0)])


def _without_blank(tokenizer: Any) -> Any:
    """Return a copy of the backend that adds no leading space, or None if the backend adds none."""
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    changed = state | {part: _clean(state[part]) for part in ("normalizer", "pre_tokenizer", "decoder")}
    if changed == state:
        return None
    backend = Tokenizer.from_str(json.dumps(changed))
    backend.no_truncation()
    backend.no_padding()
    return backend


def _clean(part: Any) -> Any:
    """Remove the steps for a leading space from a tokenizer's component in JSON."""
    if part is None:
        return None
    kind = part["type"]
    if kind == "Prepend" or (kind == "Strip" and part.get("content") == " "):
        return None
    if kind == "Metaspace":
        return part | {"prepend_scheme": "never"}
    if kind == "ByteLevel":
        return part | {"add_prefix_space": False}
    if kind == "Sequence":
        name = next(key for key in part if key != "type")
        return part | {name: [step for step in map(_clean, part[name]) if step is not None]}
    return part
