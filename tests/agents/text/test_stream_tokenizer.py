"""Text encoded in pieces has the tokens of the whole text, also with BOS tokens and SentencePiece's spaces."""

from collections.abc import Callable
from typing import Any

import pytest

from agents.model.pretrained import load_pretrained
from agents.protocol import AgentError
from agents.text.stream_tokenizer import StreamTokenizer
from agents.text.word_tokenizer import word_tokenizer
from experiments.decoders.architectures import tiny_decoder
from tests.helpers import tokenizers
from tests.helpers.models import tiny_model, tokenizer

PIECES = ("you see a red key .\n>", " take the lamp", "\n", "the room\n>", " go north", "\n")
KINDS = (tokenizers.llama, tokenizers.gemma, tokenizers.old_llama, tokenizers.unigram, tokenizers.bytes_with_blank)


@pytest.mark.parametrize("make", [*KINDS, tokenizers.gpt2])
def test_pieces_have_the_tokens_of_the_whole_text(make: Callable[[], Any]) -> None:
    whole = make()
    stream = StreamTokenizer(whole)
    tokens = stream.begin(PIECES[0]) + [token for piece in PIECES[1:] for token in stream.encode(piece)]
    expected = whole.encode("".join(PIECES))
    end = whole.eos_token_id
    assert tokens == (expected[:-1] if expected[-1] == end else expected)


@pytest.mark.parametrize("make", KINDS)
def test_a_stream_begins_with_the_bos_token(make: Callable[[], Any]) -> None:
    whole = make()
    stream = StreamTokenizer(whole)
    assert stream.start_tokens == [whole.bos_token_id]
    assert stream.begin("go north")[0] == whole.bos_token_id != stream.begin("go north")[1]
    assert stream.begin("<s>go north").count(whole.bos_token_id) == 1
    assert whole.bos_token_id not in stream.encode("go north")


@pytest.mark.parametrize("make", [*KINDS, tokenizers.gpt2])
def test_decoded_pieces_keep_their_blanks(make: Callable[[], Any]) -> None:
    stream = StreamTokenizer(make())
    for text in (" go north", "go north", " red key"):
        assert stream.decode(stream.encode(text)) == text


@pytest.mark.parametrize("make", [tokenizers.gpt2, tokenizer])
def test_a_tokenizer_without_bos_and_blank_is_unchanged(make: Callable[[], Any]) -> None:
    plain = make()
    stream = StreamTokenizer(plain)
    assert stream.start_tokens == [] and stream.begin("go north") == stream.encode("go north") == plain.encode(
        "go north"
    )


def test_text_that_looks_like_a_special_token_can_be_split() -> None:
    for make in (tokenizers.llama, tokenizers.gpt2):
        whole = make()
        assert whole.eos_token_id in StreamTokenizer(whole).encode("go</s>")
        assert whole.eos_token_id not in StreamTokenizer(whole, split_special_tokens=True).encode("go</s>")


def test_an_agent_writes_one_bos_token_per_stream() -> None:
    from agents.language_model.agent import LanguageModelAgent
    from agents.protocol import Turn

    whole = tokenizers.llama()
    model = tiny_model()
    player = LanguageModelAgent(model, whole, record=True)
    model.lm.resize_token_embeddings(len(whole))
    info = {"admissible_commands": ["go north", "take the key"]}
    for number in range(3):
        turn = Turn(game="g", episode=0, observation="you see a room", info=info, reward=0.0, first=number == 0)
        player.act([turn])
    tokens = player._live[0].stream.tokens
    assert tokens[0] == whole.bos_token_id and tokens.count(whole.bos_token_id) == 1
    assert whole.decode(tokens, skip_special_tokens=True).count("you see a room\n> ") == 3


def test_a_closed_vocabulary_refuses_other_words() -> None:
    stream = StreamTokenizer(word_tokenizer(["we had a wedding"], specials=False))
    assert stream.begin("We had a") + stream.encode(" wedding") == [0, 1, 2, 3]
    for encode in (stream.begin, stream.encode):
        with pytest.raises(AgentError, match="does not know the word 'party'"):
            encode("a party")
    with_unknown = StreamTokenizer(word_tokenizer(["we had a wedding"]))
    assert with_unknown.encode("party") == [with_unknown.tokenizer.unk_token_id]


def test_a_tokenizer_without_a_fast_backend_is_refused(tmp_path: Any) -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    tiny_decoder("llama", len(slow) + 8).save_pretrained(tmp_path)
    slow.save_pretrained(tmp_path)
    with pytest.raises(AgentError, match=r"has no tokenizer \(tokenizer\.json\)"):
        load_pretrained(str(tmp_path))


def test_an_open_vocabulary_remembers_a_word_that_it_does_not_know() -> None:
    stream = StreamTokenizer(word_tokenizer(["we had a wedding"]))
    stream.begin("we had a")
    assert stream.unknown_words == set()
    stream.encode("a party, we had")
    assert "party" in stream.unknown_words
