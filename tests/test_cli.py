"""The command line as a process with arguments, an exit status and two streams."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import cli as cli_module
from agents.play.baselines import RandomAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.play.transcript import NAME, Entry, append
from tests import ROOT
from tests.helpers.command_line import answer, cli, surroundings
from tests.helpers.fakes import CorridorSpec

THREAD = """
import gymnasium, threading, time
threading.Thread(target=time.sleep, args=(1000,), name="lazy").start()
"""
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


def bare(text: str) -> str:
    """The text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with transcripts: two iterations of three episodes."""
    specs = [CorridorSpec("corridor", 3)]
    with EpisodeRunner(specs, seed=1) as runner:
        for iteration in range(2):
            episodes = runner.play(RandomAgent(seed=1), 3)
            append(tmp_path / NAME, (Entry(iteration=iteration, episode=episode) for episode in episodes))
    return tmp_path


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
    assert len(lines) == 4
    assert re.fullmatch(r"   1  (cooperate|defect)  p 0\.500  reward -?[\d.]+  score -?[\d.]+", lines[0])
    assert re.fullmatch(r"episode 0, ipd: turn limit, score -?[\d.]+, 3 turns", lines[3])


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
    assert "We had a" in shown
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


@contextmanager
def terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command line in its own terminal: the process, and our end of the terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=surroundings())
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def wait_for(handle: int, text: str, seconds: float = 30.0) -> str:
    """Read from a terminal until the text appears."""
    seen, end = "", time.monotonic() + seconds
    while text not in seen:
        ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        assert ready, seen
        seen = bare(seen + os.read(handle, 4096).decode(errors="replace"))
    return seen


def press(handle: int, key: bytes) -> None:
    """Press a key as soon as the program reads single keys."""
    end = time.monotonic() + 30
    while termios.tcgetattr(handle)[3] & termios.ECHO:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.write(handle, key)


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
    assert answer(*arguments, progress=True) == f"the card is in {tmp_path / 'card.md'}\n"
    document, results = (tmp_path / "card.md").read_text(), (tmp_path / "card.json").read_text()
    assert "| walkthrough | without objective | 1.00" in document
    (tmp_path / "card.md").unlink()
    assert json.loads(answer(*arguments, "--json", progress=True)) == json.loads(results)
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


def test_watch_shows_the_newest_iteration(run: Path) -> None:
    shown = answer("watch", str(run))
    assert re.findall(r"^iteration (\d), episode (\d)", shown, re.MULTILINE) == [("2", "3"), ("2", "4"), ("2", "5")]
    assert "You stand at 0." in shown
    assert re.search(r"^   1  (forward|wait)  p 0\.500  reward [01]  score [01] of 3$", shown, re.MULTILINE)


def test_watch_chooses_iteration_and_episode(run: Path) -> None:
    [entry] = json.loads(answer("watch", str(run / NAME), "--episode", "2", "--json"))
    assert (entry.pop("iteration"), entry["index"]) == (0, 2)
    assert Episode.from_json(entry).game == "corridor"
    assert len(json.loads(answer("watch", str(run), "--iteration", "1", "--json"))) == 3


def test_watch_filters_and_searches(run: Path) -> None:
    def episodes(*words: str) -> list[int]:
        return [episode["index"] for episode in json.loads(answer("watch", str(run), *words, "--json"))]

    assert episodes("--won") == episodes("--game", "CORR", "--search", "now at 3.") == list(range(6))
    assert episodes("--won", "--iteration", "1") == [0, 1, 2]
    assert episodes(str(run), "--won") == episodes("--won") * 2
    done = cli("watch", str(run), "--lost")
    assert (done.returncode, "has no such episode" in done.stderr) == (2, True)


def test_watch_shows_several_runs(run: Path) -> None:
    rows = json.loads(answer("watch", str(run), str(run / NAME), "--episode", "2", "--json"))
    assert [row["run"] for row in rows] == [str(run / NAME)] * 2
    assert answer("watch", str(run), str(run), "--episode", "2").count("episode 2, corridor") == 2


def test_watch_is_an_application_in_a_terminal(run: Path) -> None:
    with terminal("watch", str(run)) as (process, keyboard):
        wait_for(keyboard, "6 episodes")
        press(keyboard, b"\r")
        wait_for(keyboard, "episode 5")
        press(keyboard, b"q")
        wait_for(keyboard, "", seconds=1)
        assert process.wait(30) == 0


def test_a_damaged_transcript_ends_the_application_in_one_line(run: Path) -> None:
    path = run / NAME
    path.write_bytes(path.read_bytes()[:-40])
    with terminal("watch", str(run)) as (process, keyboard):
        shown = wait_for(keyboard, "line 6 is damaged")
        assert "error: " in shown and "Traceback" not in shown
        assert process.wait(30) == 2


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_watch_exports_a_page(run: Path, suffix: str) -> None:
    page = run / f"page.{suffix}"
    assert answer("watch", str(run), "--iteration", "1", "--export", str(page)) == f"the page is in {page}\n"
    assert page.read_text().count("You stand at 0.") == 3


def test_played_episodes_are_saved_and_watched(tmp_path: Path) -> None:
    arguments = ("--agent", "random", "--game", "bandit", "--episodes", "2", "--json")
    played = cli("play", *arguments, "--save", str(tmp_path / "played"))
    assert re.search(rf"the episodes are in {tmp_path}/played; watch them: .* watch {tmp_path}/played\n", played.stderr)
    document = json.loads(played.stdout)
    saved = json.loads(answer("watch", str(tmp_path / "played"), "--json"))
    assert saved == [{"iteration": 0, **episode} for episode in document["episodes"]]
    done = cli("play", *arguments, "--save", str(tmp_path / "played"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("transcripts.jsonl already exists; choose another folder\n")
    assert cli("evaluate", *arguments, "--save", str(tmp_path / "evaluated")).returncode == 0
    assert [path.name for path in (tmp_path / "evaluated").iterdir()] == ["random"]
    for folder in ("evaluated/random", "evaluated"):
        watched = json.loads(answer("watch", str(tmp_path / folder), "--json"))
        assert [episode["index"] for episode in watched] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "--agent", "randm"], "unknown agent 'randm'.*did you mean 'random'"),
        (["play", "--agent", "random", "--game", "bandid"], "did you mean 'bandit'"),
        (["play", "--agent", "random", "--game", "textworld:simpel"], "simple"),
        (["watch", str(ROOT / "cli.py")], r"cli\.py is no transcript; expected the folder of a run"),
        (["play", "--agent", "random", "--game", "textworld:simple?seed=1..x"], r"a range, as in seed=1\.\.20"),
        (["play", "--agent", "random", "--game", "ipd?strat=defect"], "did you mean 'start'"),
        (["play", "--agent", "random", "--game", "no/such/game.z8"], "no such file or folder"),
        (["play", "--agent", "human", "--game", "ipd", "--json"], "a person cannot play with --json"),
        (["play", "--episods", "3"], "No such option.*--episodes"),
        (["play", "--episodes", "0"], "--episodes must be greater than or equal to 1, got 0$"),
        (["evaluate", "--episodes", "1000000000"], "--episodes must be less than or equal to 1000000, got 1000000000$"),
        (["play", "--step-seconds", "0"], "--step-seconds must be greater than or equal to 0.001, got 0$"),
        (["serve", "--port", "99999"], "--port must be less than or equal to 65535, got 99999$"),
        (["play", "--seed", "x"], "--seed must be a valid integer, got 'x'$"),
        (["evaluate", "--card", "--tasks", "coins"], "did you mean 'coin'?"),
        (["evaluate", "--card", "--agent", "nobody"], "unknown agent 'nobody'"),
        (["evaluate", "--card", "--greedy"], "leave out the other options"),
        (["evaluate", "--card", "--parallel", "8"], "leave out the other options"),
        (["evaluate", "--tasks", "coin"], "add --card, or leave them out"),
        (["evaluate", "--out", "card.md"], "add --card, or leave them out"),
        (["evaluate", "--card", "--out", "card"], "--out expects NAME.md"),
        (["evaluate", "--agent", "human", "--game", "ipd"], "in the terminal only"),
        (["generate", "x", "--family", "simpel"], "simple"),
        (["generate", "x", "--family", "coin", "--set", "goal"], "NAME=VALUE, got 'goal'"),
        (["generate", "x", "--family", "coin", "--set", "gaol=none"], "goal"),
        (["generate", "x", "--family", "coin", "--levels", "3-1"], "3-1"),
        (["generate", "x", "--family", "coin", "--levels", "0"], "--levels 0: expected levels of coin from 1 to 233"),
        (["generate", "x", "--family", "coin", "--set", "level=0"], "level is an option of its own, --levels"),
        (["wach"], "Did you mean 'watch'"),
        (["watch", "no/such/run"], "no/such/run does not exist"),
        (["watch", "run", "--won", "--lost"], "--won and --lost exclude each other"),
        (["watch", "run", "--follow"], "--follow is for the application in a terminal"),
        (["watch", "run", "--export", "page.pdf"], r"--export expects FILE\.html or FILE\.md, got page\.pdf"),
        (["watch", "run", "--export", "page.md", "--json"], "--export and --json exclude each other"),
        (["evaluate", "--card", "--save", "folder"], "leave out the other options"),
        (["play", "--delay", "soon"], "--delay.*number"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .+\n", done.stderr)
    assert re.search(message, done.stderr)


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
    assert (other.returncode, "holds a curriculum made with other settings" in other.stderr) == (2, True)


def test_a_foreign_game_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "game.z8").write_bytes(b"garbage")
    done = cli("play", "--agent", "random", "--game", str(tmp_path / "game.z8"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_damaged_transcript_is_named(run: Path) -> None:
    path = run / NAME
    path.write_bytes(path.read_bytes()[:-40])
    done = cli("watch", str(run))
    assert done.returncode == 2
    assert "line 6 is damaged" in done.stderr


def test_an_empty_transcript_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    done = cli("watch", str(tmp_path))
    assert (done.returncode, "holds no episodes yet" in done.stderr) == (2, True)


def test_a_full_disk_is_reported() -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "play", "--agent", "random", "--game", "bandit", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=surroundings())
    assert (done.returncode, done.stderr) == (1, "error: the disk is full\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} {ROOT / 'cli.py'} play --agent random --game ipd --episodes 3 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=surroundings())
    assert done.stderr == ""


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(cli_module, "app", broken)
    with pytest.raises(ValueError, match="ours"):
        cli_module.main()


@pytest.mark.parametrize("error", [OSError(28, "No space left", "runs/x"), OSError(30, "Read-only", "runs/x")])
def test_a_failing_disk_is_one_line(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaves_threads: None
) -> None:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli_module, "app", failing)
    with pytest.raises(SystemExit) as stopped:
        cli_module.main()
    assert stopped.value.code == 1
    assert re.fullmatch(r"error: the disk is (full|read-only): runs/x\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        type("PanicException", (BaseException,), {})('Os { code: 11, message: "Resource temporarily unavailable" }'),
    ],
)
def test_too_little_memory_is_one_line(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(**_: object) -> None:
        raise error

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(cli_module, "app", failing)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as stopped:
        cli_module.main()
    assert stopped.value.code == 1
    assert re.fullmatch(r"error: the memory is full, [^\n]+\n", capsys.readouterr().err)


def test_a_thread_of_a_game_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LIFT.replace("import gymnasium", THREAD))
    done = cli("play", "--agent", "random", "--game", f"{tmp_path / 'lazy.py'}:Lift?name=x", "--episodes", "1")
    assert done.returncode == 0
    assert done.stderr == "a thread of the game is still running and ends now: lazy\n"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/report", "this path leads through a file"),
        ("x" * 300, "the name is too long"),
        ("lost", "a file has this name"),
        ("folder", "no regular file; expected a file"),
    ],
)
def test_an_impossible_path_is_one_clear_line(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / "results.json").mkdir(parents=True)
    done = cli("reproduce", "bandit", "--quick", "--out", str(tmp_path / place))
    assert said in done.stderr
    assert str(tmp_path / place) in done.stderr
    status = 2 if place == "folder" else 1  # a folder in the place of the results is read, and the others are written
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
