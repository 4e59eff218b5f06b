"""Prompt formats: the text around observations and commands."""

import pytest

from agents.protocol import AgentError
from agents.text.prompt import CHAT, FORMATS, PLAIN, PromptFormat, prompt_format
from agents.text.word_tokenizer import word_tokenizer


def written(form: PromptFormat, turns: list[tuple[str, str]], prompt: str = "\n> ", end: str = "\n") -> list[str]:
    pieces: list[str] = []
    for index, (observation, command) in enumerate(turns):
        pieces.append(form.before_command(observation, game_prompt=prompt, first=index == 0))
        pieces.append(form.command(command, game_prompt=prompt))
        pieces.append(form.after_command(game_terminator=end))
    return pieces


def test_plain_is_what_a_player_sees() -> None:
    pieces = written(PLAIN, [("A hall.", "go east"), ("A room.", "look")])
    assert "".join(pieces) == "A hall.\n> go east\nA room.\n> look\n"


def test_the_trailing_space_of_the_prompt_belongs_to_the_command() -> None:
    assert PLAIN.before_command("A hall.", game_prompt="\n> ", first=True) == "A hall.\n>"
    assert PLAIN.command("go east", game_prompt="\n> ") == " go east"


def test_a_game_without_prompt_gets_no_text_of_ours() -> None:
    assert written(PLAIN, [("We had a", " wedding")], prompt="", end="") == ["We had a", " wedding", ""]
    tokenizer = word_tokenizer(("cooperate", "defect"), specials=False)
    pieces = written(PLAIN, [("cooperate", "defect"), ("", "defect")], prompt="", end="")
    assert [i for piece in pieces for i in tokenizer.encode(piece, add_special_tokens=False)] == [0, 1, 1]


def test_chat_has_observations_of_the_user_and_commands_of_the_assistant() -> None:
    text = "".join(written(CHAT, [("A hall.", "go east"), ("A room.", "look")]))
    assert text.count("<|im_start|>system\n") == 1
    assert text.endswith(
        "<|im_start|>user\nA hall.<|im_end|>\n<|im_start|>assistant\ngo east<|im_end|>\n"
        "<|im_start|>user\nA room.<|im_end|>\n<|im_start|>assistant\nlook<|im_end|>\n"
    )


def test_formats_by_name() -> None:
    assert [prompt_format(name).name for name in FORMATS] == list(FORMATS)
    with pytest.raises(AgentError, match="expected plain or chat"):
        prompt_format("plane")
