"""Small tokenizers of pretrained kinds, trained on a few words."""

import json
from typing import Any

from tokenizers import (
    ByteLevelBPETokenizer,
    SentencePieceBPETokenizer,
    SentencePieceUnigramTokenizer,
    Tokenizer,
    normalizers,
    processors,
)
from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

TEXT = ["go north take the red key drop lamp you see a room . > \n"] * 4
SPECIALS = ["<unk>", "<s>", "</s>"]
ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False}


def _vocabulary() -> dict[str, Any]:
    trained = SentencePieceBPETokenizer()
    trained.train_from_iterator(TEXT, vocab_size=200, special_tokens=SPECIALS, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    for byte in range(256):
        model["vocab"].setdefault(f"<0x{byte:02X}>", len(model["vocab"]))
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}


def _wrapped(backend: Tokenizer) -> Any:
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[("<s>", backend.token_to_id("<s>")), ("</s>", backend.token_to_id("</s>"))],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **ROLES)


def llama(**settings: Any) -> Any:
    """SentencePiece with a space in front of a text, and a BOS token."""
    return LlamaTokenizer(**_vocabulary(), add_bos_token=True, **settings)


def gemma() -> Any:
    """SentencePiece with a BOS token, but no space in front of a text."""
    return GemmaTokenizer(**_vocabulary(), add_bos_token=True)


def old_llama() -> Any:
    """The same as `llama`, but the normalizer adds the space, as in the files of Llama 2."""
    tokenizer = llama()
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = None
    return tokenizer


def unigram() -> Any:
    """A unigram model of SentencePiece, with BOS and EOS tokens."""
    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(TEXT, vocab_size=60, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    return _wrapped(trained._tokenizer)


def bytes_with_blank() -> Any:
    """A byte-level tokenizer that adds a space, with BOS and EOS tokens."""
    trained = ByteLevelBPETokenizer(add_prefix_space=True)
    trained.train_from_iterator(TEXT, vocab_size=320, special_tokens=SPECIALS, show_progress=False)
    return _wrapped(trained._tokenizer)


def gpt2() -> Any:
    """A byte-level tokenizer that adds neither a BOS token nor a space."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXT, vocab_size=320, special_tokens=["</s>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="</s>")
