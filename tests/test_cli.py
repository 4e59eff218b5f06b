"""The command line as a process with arguments, an exit status and two streams."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.play.episode import Episode
from tests import ROOT
from tests.helpers.command_line import answer, cli, surroundings
from tests.helpers.terminals import bare, terminal, wait_for

LIFT = """
import gymnasium

class Lift(gymnasium.Env):
    action_space = observation_space = gymnasium.spaces.Text(100)

    def __init__(self, name: str):
        self.name = name

    def reset(self, *, seed=None, options=None):
        return f"Hello {self.name}.", {"admissible_commands": ["up", "down"]}

    def step(self, action):
        return "You arrive.", 1.5, True, False, {}
"""


def test_help_is_fast() -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "cli.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings())
    assert "play" in done.stdout
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"typer", "rich"} <= names
    heavy = {"torch", "transformers", "textworld", "gymnasium", "numpy", "scipy", "accelerate", "textual", "jinja2"}
    assert not names & heavy


@pytest.mark.parametrize("command", ["play", "generate", "evaluate", "watch", "make-pairs", "train-reward"])
def test_every_command_has_help(command: str) -> None:
    assert "--json" in answer(command, "--help")


def test_play_in_a_pipe_prints_one_line_per_turn() -> None:
    lines = answer("play", "--agent", "random", "--game", "ipd", "--max-turns", "3").splitlines()
    assert len(lines) == 5
    assert lines[0] == "random plays ipd, episode 0"
    assert re.fullmatch(r"   1  (cooperate|defect)  p 0\.500  reward -?[\d.]+  score -?[\d.]+", lines[1])
    assert re.fullmatch(r"episode 0, ipd: turn limit, score -?[\d.]+, 3 turns", lines[4])


def test_play_as_json_is_one_reproducible_document() -> None:
    arguments = ("play", "--agent", "random", "--game", "ipd", "--max-turns", "4", "--episodes", "2", "--json")
    text = answer(*arguments, "--seed", "5")
    document = json.loads(text)
    assert (document["agent"], document["game"], document["seed"]) == ("random", "ipd", 5)
    episodes = [Episode.from_json(episode) for episode in document["episodes"]]
    assert [episode.index for episode in episodes] == [0, 1]
    assert text == answer(*arguments, "--seed", "5") != answer(*arguments, "--seed", "6")


def test_play_in_a_terminal_draws_bars() -> None:
    arguments = ("play", "--agent", "random", "--game", "bandit", "--delay", "0")
    shown = bare(cli(*arguments, env=surroundings(TTY_COMPATIBLE="1")).stdout)
    for part in ("random plays bandit", "We had a", "wedding", "50.0%", "entropy 0.69 nats", "reward", "███"):
        assert part in shown
    assert max(len(line) for line in shown.splitlines()) <= 100


def test_a_person_chooses_by_number_and_mistakes_cost_no_turn() -> None:
    shown = answer("play", "--agent", "human", "--game", "bandit", typed="\nweding\n3\n?\n2\n")
    assert shown.count("  2 wedding\n") == 2, "the question mark shows the commands again"
    assert shown.count("no command here: ") == 2
    assert shown.endswith("wedding  reward 1  score 1 of 1\nepisode 0, bandit: won, score 1 of 1, 1 turn\n")


def test_the_version_is_shown() -> None:
    assert re.fullmatch(r"actde \d+\.\d+\.\d+\n", answer("--version"))


def test_a_person_can_play_through_a_pipe() -> None:
    shown = answer("play", "--agent", "human", "--game", "bandit", typed="wedding\n")
    assert shown.startswith("human plays bandit, episode 0\nWe had a")
    assert "episode 0, bandit: won" in shown


def test_the_end_of_the_input_ends_play() -> None:
    done = cli("play", "--agent", "human", "--game", "ipd", typed="cooperate\n")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.endswith("stopped\n")


@pytest.mark.parametrize(("key", "status"), [(b"\x04", 0), (b"\x03", 130)])
def test_keys_that_end_play_in_a_terminal(key: bytes, status: int) -> None:
    with terminal("play", "--agent", "human", "--game", "ipd") as (process, keyboard):
        wait_for(keyboard, " > ")
        time.sleep(0.2)  # a signal between the prompt and the reading would be lost
        if key == b"\x03":
            process.send_signal(signal.SIGINT)
            time.sleep(1)
            with suppress(OSError):  # on a busy machine the signal may not be heard before the next key
                os.write(keyboard, b"\n")
        else:
            os.write(keyboard, key)
        assert "Traceback" not in wait_for(keyboard, "stopped")
        assert process.wait(30) == status


def test_evaluate_beside_random_and_walkthrough() -> None:
    arguments = ("evaluate", "--agent", "random", "--game", "textworld:simple?seed=1", "--episodes", "2")
    rows = json.loads(answer(*arguments, "--max-turns", "20", "--json"))
    assert [row["agent"] for row in rows] == ["random", "walkthrough"]
    fields = [
        *("agent", "game", "episodes", "errors", "success_rate"),
        *("normalized_score", "steps", "steps_to_win", "entropy", "bonus_share", "texts", "trained_on"),
    ]
    assert all(list(row) == fields for row in rows)
    assert rows[1]["success_rate"]["value"] == 1
    table = answer(*arguments, "--max-turns", "20", "--bonus-command", "look")
    assert "bonus command" in table
    assert "walkthrough" in table
    assert "16 to 100%" in table, "2 of 2 by Clopper and Pearson"


def test_the_card_is_played_once_and_written_again(tmp_path: Path) -> None:
    arguments = ["evaluate", "--card", "--tasks", "treasure", "--episodes", "1", "--agent", "random"]
    arguments += ["--out", str(tmp_path / "card.md")]
    assert answer(*arguments) == f"the card is in {tmp_path / 'card.md'}\n"
    document, results = (tmp_path / "card.md").read_text(), (tmp_path / "card.json").read_text()
    assert "| walkthrough | without objective | 1.00" in document
    (tmp_path / "card.md").unlink()
    assert json.loads(answer(*arguments, "--json")) == json.loads(results)
    assert (tmp_path / "card.md").read_text() == document


def test_evaluate_leaves_out_agents_that_cannot_play() -> None:
    done = cli("evaluate", "--agent", "random", "--game", "ipd", "--episodes", "2", "--max-turns", "3", "--json")
    assert done.returncode == 0
    assert [row["agent"] for row in json.loads(done.stdout)] == ["random"]
    assert done.stderr == "left out walkthrough: ipd has no walkthrough, so the walkthrough agent cannot play it\n"


def test_evaluate_shows_the_reward_of_a_game_without_a_maximum_score(tmp_path: Path) -> None:
    game = f"{tmp_path / 'lift.py'}:Lift?name=Bob"
    (tmp_path / "lift.py").write_text(LIFT)
    arguments = ("evaluate", "--agent", "random", "--game", game, "--episodes", "3")
    done = cli(*arguments)
    title, *lines = done.stdout.splitlines()
    assert title == f"random on {game}, 3 episodes each"
    assert re.search(r"success +- *\n score +- *\n reward +\+1\.50 *\n", done.stdout)
    assert lines[-1] == "below each mean its 95% interval; entropy in nats per turn"
    [row] = json.loads(cli(*arguments, "--json").stdout)
    assert (row["success_rate"], row["normalized_score"]) == (None, None)
    assert row["reward"] == {"value": 1.5, "low": None, "high": None}


def test_generate_makes_games_that_can_be_played(tmp_path: Path) -> None:
    out = tmp_path / "games"
    arguments = ("generate", str(out), "--family", "coin", "--per-level", "2", "--set", "goal=none")
    document = json.loads(answer(*arguments, "--json"))
    assert [game["level"] for game in document["games"]] == [1, 1]
    assert set(document["passed_over"]) <= {"duplicates", "of another split", "impossible"}
    assert document["previews"] == []
    again = answer(*arguments)
    assert re.fullmatch(rf"2 games in {out}; play one of them: \S*python\S* \S+cli.py play --game {out}\n", again)
    picture = out / "preview" / "tw-coin-level1-0001.svg"
    drawn = answer(*arguments, "--preview")
    assert "╔═" in drawn and "take coin" in drawn and str(picture) in drawn
    assert picture.read_text().rstrip().endswith("</svg>")
    assert document["crawled"] == {}
    assert json.loads(answer(*arguments, "--preview", "--json"))["previews"] == [str(picture)]
    assert "2 of 2 games are known completely" in answer(*arguments, "--crawl")
    assert (out / "tw-coin-level1-0001.states").is_file()
    lines = answer("play", "--agent", "walkthrough", "--game", str(out), "--episodes", "2").splitlines()
    assert lines[-1] == "2 of 2 episodes won"
    other = cli(*arguments, "--seed", "7")
    assert (other.returncode, "holds a curriculum made with other --seed" in other.stderr) == (2, True)


def test_play_in_a_pipe_says_what_it_loads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import agents
    import cli as program

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(1.2)
        return make(*arguments, **options)

    make = agents.make_agent
    monkeypatch.setattr(agents, "make_agent", slow)
    program.app(["play", "--agent", "random", "--game", "bandit"], standalone_mode=False)
    assert "loading random, 1 s" in capsys.readouterr().err
