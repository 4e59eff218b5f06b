"""Shell completion of commands, options and values."""

import os

import pytest

from terminal import completion
from tests.conftest import Command

OF_OTHER_TESTS = {"actde-permuted"}  # an optimizer that a study registers


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("actde tra", ["train", "train-reward"]),
        ("actde train --lr-sch", ["--lr-schedule"]),
        ("actde train --lr-schedule l", ["linear"]),
        ("actde train --optimizer actde", ["actde", "actde-corrected"]),
        ("actde train --game textworld:c", ["textworld:coin", "textworld:cooking"]),
        ("actde train --game com", ["completion"]),
        ("actde train --trunk s", ["small", "smollm2"]),
        ("actde compare --optimizers ppo,im", ["ppo,imitation"]),
        ("actde play --agent act", ["actde", "actde-small"]),
        ("actde play --game ip", ["ipd"]),
        ("actde export pp", ["ppo", "ppo-small"]),
    ],
)
def test_a_shell_completes(command: Command, words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(completion.VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert [name for name in command()[1].split() if name not in OF_OTHER_TESTS] == expected


def test_the_script_of_a_shell_is_for_the_installed_program(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(completion.VARIABLE, raising=False)
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    status, script, errors = command("--show-completion")
    assert (status, errors) == (0, "")
    assert f"{completion.VARIABLE}=complete_bash" in script and "_completion actde" in script
    assert completion.VARIABLE not in os.environ
