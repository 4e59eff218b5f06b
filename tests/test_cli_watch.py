"""`watch` and saved episodes as a process."""

import json
import re
import shutil
from pathlib import Path

import pytest

from agents.play.baselines import RandomAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.play.transcript import NAME, Entry, append
from agents.storage.run_folder import SETTINGS
from tests.helpers.command_line import answer, cli
from tests.helpers.fakes import CorridorSpec
from tests.helpers.terminals import press, terminal, wait_for


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with transcripts: two iterations of three episodes."""
    (tmp_path / SETTINGS).touch()
    specs = [CorridorSpec("corridor", 3)]
    with EpisodeRunner(specs, seed=1) as runner:
        for iteration in range(2):
            episodes = runner.play(RandomAgent(seed=1), 3)
            append(tmp_path / NAME, (Entry(iteration=iteration, episode=episode) for episode in episodes))
    return tmp_path


def test_watch_shows_the_newest_iteration(run: Path) -> None:
    shown = answer("watch", str(run))
    assert re.findall(r"^iteration (\d), episode (\d)", shown, re.MULTILINE) == [("2", "3"), ("2", "4"), ("2", "5")]
    assert "You stand at 0." in shown
    assert re.search(r"^   1  (forward|wait)  p 0\.500  reward [01]  score [01] of 3$", shown, re.MULTILINE)


def test_the_folder_of_a_comparison_opens_its_runs(run: Path) -> None:
    for name in ("ppo", "actde"):
        (run / "cmp" / "runs" / name).mkdir(parents=True)
        shutil.copy(run / NAME, run / "cmp" / "runs" / name)
    watched = json.loads(answer("watch", str(run / "cmp"), "--json"))
    assert {Path(episode["run"]).parent.name for episode in watched} == {"ppo", "actde"}


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
    assert (done.returncode, "none of its 6 matches" in done.stderr) == (2, True)


def test_watch_shows_several_runs(run: Path) -> None:
    rows = json.loads(answer("watch", str(run), str(run / NAME), "--episode", "2", "--json"))
    assert [row["run"] for row in rows] == [str(run / NAME)] * 2
    heads = answer("watch", str(run), str(run), "--episode", "2")
    assert heads.count(f"{run / NAME}, iteration 1, episode 2, corridor") == 2


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
    assert "iteration" not in answer("watch", str(tmp_path / "played"))
    for folder in ("evaluated/random", "evaluated"):
        watched = json.loads(answer("watch", str(tmp_path / folder), "--json"))
        assert [episode["index"] for episode in watched] == [0, 1]


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
