"""Shell completion of commands, options and values."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from terminal import completion
from tests import ROOT
from tests.conftest import Command
from tests.helpers.terminals import opened, wait_for

OF_OTHER_TESTS = {"actde-permuted"}  # an optimizer that a study registers


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("actde tra", ["train", "train-reward"]),
        ("actde train --lr-sch", ["--lr-schedule"]),
        ("actde train --lr-schedule l", ["linear"]),
        ("actde train --optimizer actde", ["actde", "actde-corrected"]),
        ("actde train --game textworld : c", ["coin", "cooking"]),
        ("actde train --game = textworld : co", ["coin", "cooking"]),
        ("actde train --out a @ b --game textworld : co", ["coin", "cooking"]),
        ("actde train --game com", ["completion"]),
        ("actde train --trunk s", ["small", "smollm2"]),
        ("actde compare --optimizers ppo,im", ["ppo,imitation"]),
        ("actde play --agent act", ["actde", "actde-small"]),
        ("actde play --game ip", ["ipd"]),
        ("actde play --game textworld :", ["simple", "coin", "treasure", "cooking", "quest", "textnav"]),
        ("actde export pp", ["ppo", "ppo-small"]),
    ],
)
def test_a_shell_completes(command: Command, words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(completion.VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words.replace(" ", "\n"))
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert [name for name in command()[1].split() if name not in OF_OTHER_TESTS] == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_an_interactive_bash_completes_words_that_it_splits(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))  # make starts the tests in sh
    status, script, _ = command("--show-completion")
    assert status == 0
    (tmp_path / "actde").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "cli.py"} "$@"\n')
    (tmp_path / "actde").chmod(0o755)
    (tmp_path / "rc").write_text(f"PS1='ready$ '\n{script}")
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "INPUTRC": "/dev/null"}
    with opened(["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"], env) as (_, ours):
        wait_for(ours, "ready$ ")
        for typed, keys, shown in (
            ("--game textworld:tr", b"\t", "easure "),
            ("--game=textworld:coi", b"\t", "n "),
            ("--game 'textworld:si", b"\t", "mple' "),
            ("--game textworld:", b"\t\t", "cooking"),
        ):
            os.write(ours, f"\x15actde train {typed}".encode())  # Ctrl-U empties the line
            wait_for(ours, f"actde train {typed}")
            os.write(ours, keys)
            wait_for(ours, shown, seconds=120)


def test_the_script_of_a_shell_is_for_the_installed_program(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(completion.VARIABLE, raising=False)
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    status, script, errors = command("--show-completion")
    assert (status, errors) == (0, "")
    assert f"{completion.VARIABLE}=complete_bash" in script and "_completion actde" in script
    assert completion.VARIABLE not in os.environ


def test_an_installation_says_which_command_is_completed(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    status, shown, errors = command("--install-completion")
    assert status == 0 and "completion installed in" in shown and "not `python cli.py`" in errors
