"""The word tokenizer: its tokens, the property that the rollout relies on, and TextWorld's words."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import games
from agents.protocol import AgentError
from agents.text.vocabulary_script import code_rooms, code_texts, grammar_text, inform_text, third_person
from agents.text.word_tokenizer import known_words, split_words, textworld_vocabulary, word_tokenizer
from tests import ROOT

DATA = ROOT / "agents" / "data" / "textworld_words.txt"
TOKENIZER = word_tokenizer(textworld_vocabulary())


def ids(text: str) -> list[int]:
    encoded: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return encoded


def tokens(text: str) -> list[str]:
    words: list[str] = TOKENIZER.convert_ids_to_tokens(ids(text))
    return words


def test_text_becomes_words_digits_marks_and_newlines() -> None:
    expected = ["-", "=", "kitchen", "=", "-", "\n", "you", "'", "ve", "1", "0", "points", "."]
    assert tokens("-= Kitchen =-\nYou've 10 points.") == expected


def test_spaces_and_capitals_make_no_difference() -> None:
    assert ids(" Kitchen") == ids("kitchen") == ids("\tKITCHEN \r")


def test_a_command_and_its_prompt_are_the_same_tokens_everywhere() -> None:
    whole = ids("You see a table.\n> open chest drawer\nYou open it.\n> go east\n")
    pieces = ["You see a table.", "\n> ", "open chest drawer", "\n", "You open it.", "\n> ", "go east", "\n"]
    assert [i for piece in pieces for i in ids(piece)] == whole


@given(st.lists(st.text(), max_size=6), st.sampled_from(["\n> ", "\n", " ", ". ", "- "]))
@settings(deadline=None)
def test_tokens_of_pieces_are_the_tokens_of_the_whole(pieces: list[str], between: str) -> None:
    separated = [part for piece in pieces for part in (piece, between)]
    assert [i for piece in separated for i in ids(piece)] == ids("".join(separated))


def test_special_tokens_in_a_text_are_text() -> None:
    assert not {TOKENIZER.pad_token_id, TOKENIZER.eos_token_id} & set(ids("[PAD] say [END]"))
    assert TOKENIZER.unk_token_id not in ids("look [at] me")
    assert ids("xyzzy") == [TOKENIZER.unk_token_id]


def test_every_id_below_the_length_is_used_once() -> None:
    vocabulary = TOKENIZER.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(TOKENIZER)))


@pytest.mark.parametrize("command", ["go east", "take chef's half-bag from table", "take key 12"])
def test_decoded_commands_read_as_typed(command: str) -> None:
    tokenizer = word_tokenizer(split_words(command))
    assert tokenizer.decode(tokenizer.encode(command + "\n", add_special_tokens=False)) == command + "\n"


def test_two_words_make_two_ids() -> None:
    tokenizer = word_tokenizer(("cooperate", "defect"), specials=False)
    assert len(tokenizer) == 2
    assert tokenizer.encode("defect", add_special_tokens=False) == [1]
    with pytest.raises(Exception, match="UNK"):
        tokenizer.encode("hesitate", add_special_tokens=False)


def test_entries_are_split_into_words() -> None:
    tokenizer = word_tokenizer(("We had a", " wedding", " party"), specials=False)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == ["we", "had", "a", "wedding", "party"]


@pytest.mark.parametrize("vocabulary", [(), ("go", " ")])
def test_a_vocabulary_without_words_is_refused(vocabulary: tuple[str, ...]) -> None:
    with pytest.raises(AgentError, match="word"):
        word_tokenizer(vocabulary, specials=False)


@pytest.mark.parametrize("specials", [True, False])
def test_a_saved_tokenizer_loads_the_same(tmp_path: Path, specials: bool) -> None:
    from transformers import PreTrainedTokenizerFast

    saved = word_tokenizer(("take", "old", "key"), specials=specials)
    saved.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "take old key" + " [PAD] unheard\n" * specials
    assert len(loaded) == len(saved)
    assert loaded.encode(text, add_special_tokens=False) == saved.encode(text, add_special_tokens=False)
    assert (loaded.pad_token_id, loaded.eos_token_id) == (saved.pad_token_id, saved.eos_token_id)


def test_the_word_list_is_up_to_date() -> None:
    command = [sys.executable, "-m", "agents.text.vocabulary_script"]
    made = subprocess.run(command, cwd=DATA.parents[2], capture_output=True, text=True, check=True).stdout
    if made.splitlines()[0] != DATA.read_text(encoding="utf-8").splitlines()[0]:
        pytest.skip(f"the list comes from another textworld than the installed {version('textworld')}")
    assert made == DATA.read_text(encoding="utf-8")
    words = textworld_vocabulary()
    assert list(words) == sorted(set(words))


def test_words_of_a_grammar_line() -> None:
    line = "take:#verb# the (o|k)[if (obj) is open], open[end if];[is|are] here"
    assert split_words(grammar_text(line)) == ["the", ",", "open", ";", "[", "is", "|", "are", "]", "here"]
    assert grammar_text("# a remark: with a colon") == ""


def test_rooms_have_plurals() -> None:
    assert split_words(grammar_text("cook_(r)_noun:kitchen;steam room"))[-4:] == ["kitchens", ";", "steam", "rooms"]
    source = 'room = M.new_room("living room")\nNEIGHBORS = {"garden": ["shed"], "shed": []}\n'
    assert set(code_rooms(source)) == {"living room", "garden", "shed"}


def test_words_of_code_exclude_texts_for_programmers() -> None:
    source = '"""Docstring."""\nparser.add_argument("--a", help="secret")\nname = "old key"\nraise E("bug")\n'
    assert list(code_texts(source)) == ["old key"]


def test_words_of_an_adaptive_message() -> None:
    assert "seems" in split_words(inform_text("[The noun] [seem] stuck."))
    assert [third_person(verb) for verb in ("pass", "carry", "see", "say")] == ["passes", "carries", "sees", "says"]


PLAYED = (
    "textworld:simple?level=1&seed=901&test=yes",
    "textworld:coin?level=12&seed=903",
    "textworld:treasure?level=14&seed=904&goal=brief",
    "textworld:cooking?level=6&seed=905",
    "textworld:quest?level=5&seed=906",
)


def texts(game: str) -> Iterator[str]:
    """Texts of the game along the walkthrough, in random play, and after commands that it does not understand."""
    rng = random.Random(0)
    env = games.resolve(game)[0].make(infos=("inventory", "description"))
    for randomly in (False, True):
        text, info = env.reset(seed=0)
        yield from (text, info["objective"])
        plan = ["dance", "take", *info["extra.walkthrough"]] if not randomly else [""] * 40
        for planned in plan:
            yield from (*info["admissible_commands"], info["inventory"], info["description"])
            text, _, terminated, _, info = env.step(planned or rng.choice(info["admissible_commands"]))
            yield text
            if terminated:
                break
    env.close()


@pytest.mark.parametrize("game", PLAYED)
def test_no_word_of_a_game_is_unknown(game: str) -> None:
    unknown = {word for text in texts(game) for word in split_words(text) if TOKENIZER.unk_token_id in ids(word)}
    assert unknown == set()


def test_known_words_give_the_same_tokenizer_again() -> None:
    first = word_tokenizer([*textworld_vocabulary(), "Zyzzyva [pad] don't", "zyzzyva 12"])
    content = first.backend_tokenizer.to_str()
    again = word_tokenizer([*textworld_vocabulary(), *known_words(json.loads(content))])
    assert again.backend_tokenizer.to_str() == content
