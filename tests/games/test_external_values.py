"""Environments whose exceptions, values and processes break rules end an episode in one line."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import games
from benchmarks.faults import hostile_objects, misbehaving
from games.code_import import code_errors
from games.errors import described


def play(where: str, what: str) -> list[Any]:
    env = games.ExternalEnv(misbehaving.Misbehaving(where=where, what=what), "mine")
    texts, ended = [env.reset(seed=0)[0]], False
    while len(texts) < 3 and not ended:
        text, _, terminated, truncated, _ = env.step("left")
        texts, ended = [*texts, text], terminated or truncated
    return texts


RAISED = sorted(misbehaving.RAISED)


@pytest.mark.parametrize("place", ["reset", "step"])
@pytest.mark.parametrize("what", RAISED)
def test_every_exception_is_one_printable_line(place: str, what: str) -> None:
    with pytest.raises(games.EpisodeError) as failure:
        play(place, what)
    text = str(failure.value)
    assert text.isprintable() and len(text) < 800 and text.encode()
    assert failure.value.kind == f"{place} raised"


@pytest.mark.parametrize("where", sorted(set(misbehaving.PLACES) - set(misbehaving.CALLS) - {"unwrapped"}))
def test_every_value_is_accepted_or_refused_in_one_line(where: str) -> None:
    for what in misbehaving.PLACES[where]:
        if what == "many":
            continue
        texts, message = list[Any](), "mine: "
        try:
            texts = play(where, what)
        except games.GameError as error:
            message = str(error)
        assert message.startswith("mine: ") and message.isprintable()
        assert all(type(text) is str for text in texts)


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("observation", "enormous"), ("observation", "circle"), ("observation", "deep"), ("reward", "1e308"),
        ("reward", "hostile"), ("info strategy", "list"), ("info continuation", "number"), ("won", "array"),
        ("info max_tokens", "negative"), ("info policy_commands", "list of lists"), ("info", "hostile dict"),
        ("commands", "hostile texts"), ("result", "hostile"),
    ],
)  # fmt: skip
def test_an_unusable_value_fails_the_episode(where: str, what: str) -> None:
    with pytest.raises(games.EpisodeError, match=r"\Amine: "):
        play(where, what)


@pytest.mark.parametrize("where", ["spaces", "metadata", "prompt"])
def test_an_unusable_environment_is_refused(where: str) -> None:
    with pytest.raises(games.GameError, match=r"\Amine: "):
        games.ExternalEnv(misbehaving.Misbehaving(where=where, what="None"), "mine")


def test_an_environment_cannot_ask_for_a_reward_model() -> None:
    env = games.ExternalEnv(misbehaving.Misbehaving(where="info unscored", what="text"), "mine")
    assert "unscored" not in env.reset(seed=0)[1]


def test_the_copy_of_a_process_that_forks_ends(tmp_path: Path) -> None:
    process = psutil.Process()
    others = process.children()  # of other tests
    play("step", "forks")
    (tmp_path / str(os.getpid())).touch()  # the copy would write another file
    _, running = psutil.wait_procs([child for child in process.children() if child not in others], timeout=30)
    assert not running
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_what_a_game_prints_is_not_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    play("step", "prints")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "printed by the game\n" * 2


def test_ctrl_c_is_no_failure_of_the_code() -> None:
    with pytest.raises(KeyboardInterrupt), code_errors("x"):
        raise KeyboardInterrupt


def test_an_exception_that_cannot_be_shown_has_its_class() -> None:
    assert described(hostile_objects.MuteError()) == "MuteError: an error without a message"
    assert described(SystemExit(None)) == "SystemExit"


def test_generators_may_be_seeded_by_a_game() -> None:
    random.seed(1)
    np.random.seed(1)
    assert play("step", "seeds generators")[-1] == "You go left."
