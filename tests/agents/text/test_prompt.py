"""Prompt formats: the text around observations and commands."""

from typing import Any

import pytest

from agents.protocol import AgentError
from agents.text.prompt import FORMATS, INSTRUCTION, PLAIN, PromptFormat, prompt_format
from agents.text.word_tokenizer import word_tokenizer
from tests.helpers import tokenizers


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


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %} {{ message.content }}"
    "{{ eos_token }}{% elif message.role == 'system' %}{{ message.content + '\n\n' }}{% else %}"
    "[INST] {{ message.content }} [/INST]{% endif %}{% endfor %}"
)
THINKING = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n\n</think>\n\n{% endif")
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "gemma": GEMMA, "mistral": MISTRAL}


def with_template(template: str | None) -> Any:
    tokenizer = tokenizers.llama()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_is_what_the_template_renders(name: str) -> None:
    tokenizer = with_template(TEMPLATES[name])
    form = prompt_format("chat", tokenizer)
    turns = [("A hall.", "go east"), ("A room.", "look"), ("A cave.", "take lamp")]
    text = "".join(written(form, turns))
    system = [] if name == "gemma" else [{"role": "system", "content": INSTRUCTION}]
    chat = [{"role": role, "content": t} for turn in turns for role, t in zip(("user", "assistant"), turn, strict=True)]
    if name == "gemma":
        chat[0]["content"] = f"{INSTRUCTION}\n\nA hall."
    assert text == tokenizer.apply_chat_template([*system, *chat], tokenize=False)


def test_chatml_is_written_as_before() -> None:
    text = "".join(written(prompt_format("chat", with_template(CHATML)), [("A hall.", "go east"), ("A room.", "look")]))
    assert text == (
        f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n"
        "<|im_start|>user\nA hall.<|im_end|>\n<|im_start|>assistant\ngo east<|im_end|>\n"
        "<|im_start|>user\nA room.<|im_end|>\n<|im_start|>assistant\nlook<|im_end|>\n"
    )


def test_commands_follow_the_generation_prompt() -> None:
    form = prompt_format("chat", with_template(THINKING))
    assert form.before_command("A hall.", game_prompt="> ", first=True).endswith("assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{{ messages[-1].content }}", "cannot be used for a game: it leaves out, repeats or changes a message; use"),
        ("{% for message in messages %}{{ message.content }} {{ raise_exception('never') }}{% endfor %}", "never"),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", "does not end"),
    ],
)
def test_a_tokenizer_without_a_usable_chat_template_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(AgentError, match=message) as failure:
        prompt_format("chat", with_template(template))
    assert "\n" not in str(failure.value)
    assert str(failure.value).endswith("; use --prompt plain")


def test_formats_by_name() -> None:
    assert [prompt_format(name, with_template(CHATML)).name for name in FORMATS] == list(FORMATS)
    with pytest.raises(AgentError, match="expected plain or chat"):
        prompt_format("plane", None)


def test_a_template_that_runs_for_hours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.text.prompt.RENDER_SECONDS", 0.5)
    endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    with pytest.raises(AgentError, match="it takes longer than"):
        prompt_format("chat", with_template(endless))
