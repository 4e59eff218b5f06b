"""Tokenizes a text piece by piece. The tokens equal those of the whole text."""

import json
from collections.abc import Sequence
from typing import Any

from agents.protocol import AgentError


class StreamTokenizer:
    """Encodes and decodes a text in pieces.

    Only the first piece gets special tokens and the leading space of SentencePiece.
    """

    def __init__(self, tokenizer: Any, *, split_special_tokens: bool = False) -> None:
        self.tokenizer = tokenizer
        self.start_tokens = _start_tokens(tokenizer)
        self._options = {"split_special_tokens": True} if split_special_tokens else {}
        self._is_word_level = type(tokenizer.backend_tokenizer.model).__name__ == "WordLevel"
        self.unknown_words: set[str] = set()  # at most one word per text
        self._continuation_backend = _without_leading_space(tokenizer)
        if self._continuation_backend is not None:
            self._continuation_backend.encode_special_tokens = split_special_tokens

    def begin(self, text: str) -> list[int]:
        """Encode the first piece."""
        tokens = self._tokenize(text) if text else []
        return tokens if tokens[: len(self.start_tokens)] == self.start_tokens else self.start_tokens + tokens

    def encode(self, text: str) -> list[int]:
        """Encode a later piece."""
        if not text:
            return []
        if self._continuation_backend is None:
            return self._tokenize(text)
        return list(self._continuation_backend.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Decode tokens of a later piece."""
        decoder = self.tokenizer if self._continuation_backend is None else self._continuation_backend
        return str(decoder.decode(list(tokens), skip_special_tokens=skip_special_tokens))

    def _tokenize(self, text: str) -> list[int]:
        has_unknown = self.tokenizer.unk_token is not None
        if self._is_word_level and not has_unknown and (word := unknown_word(self.tokenizer, text)):
            raise AgentError(
                f"the model does not know the word {word!r}; expected words of the games on which it was trained"
            )
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False, **self._options)
        if self._is_word_level and has_unknown and self.tokenizer.unk_token_id in tokens:
            self.unknown_words |= {unknown_word(self.tokenizer, text) or text}
        return tokens


def unknown_word(tokenizer: Any, text: str) -> str | None:
    """Return the first word that a word-level tokenizer does not know, or None."""
    backend = tokenizer.backend_tokenizer
    normalized = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
    words = (word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized))
    return next((word for word in words if backend.token_to_id(word) is None), None)


def _start_tokens(tokenizer: Any) -> list[int]:
    """Return the special tokens that a tokenizer puts before a text."""
    if not tokenizer.encode(""):  # a tokenizer without special tokens may not know the letter a
        return []
    with_special, without_special = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    length = len(without_special)
    starts = (i for i in range(len(with_special)) if with_special[i : i + length] == without_special)
    return list(with_special[: next(starts, 0)])


def _without_leading_space(tokenizer: Any) -> Any:
    """Return a copy of the backend that adds no leading space, or None if no copy is needed."""
    from tokenizers import Tokenizer

    backend_json = json.loads(tokenizer.backend_tokenizer.to_str())
    names = ("normalizer", "pre_tokenizer", "decoder")
    changed_json = backend_json | {name: _without_space_steps(backend_json[name]) for name in names}
    if changed_json == backend_json:
        return None
    backend = Tokenizer.from_str(json.dumps(changed_json))
    backend.no_truncation()
    backend.no_padding()
    return backend


def _without_space_steps(component: Any) -> Any:
    """Return a component of `tokenizer.json` without the steps that add or remove a leading space."""
    if component is None:
        return None
    component_type = component["type"]
    if component_type == "Prepend" or (component_type == "Strip" and component.get("content") == " "):
        return None
    if component_type == "Metaspace":
        return component | {"prepend_scheme": "never"}
    if component_type == "ByteLevel":
        return component | {"add_prefix_space": False}
    if component_type == "Sequence":
        key = next(key for key in component if key != "type")
        return component | {key: [step for step in map(_without_space_steps, component[key]) if step is not None]}
    return component
