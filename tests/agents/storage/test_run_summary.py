"""Summaries of runs: folders, state, best result and cost."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.run_folder import DIVERGED, METRICS, SETTINGS
from agents.storage.run_summary import differing_settings, find_runs, most_common_settings, ranked, summarize
from games.files import LOCK, file_lock, is_locked

Rows = Sequence[dict[str, Any]]


def row(iteration: int, **more: Any) -> dict[str, Any]:
    cost = {"rollout_seconds": 3.0, "update_seconds": 1.0, "tokens_per_second": 10.0, "peak_memory": 1000 - iteration}
    counts = {"episodes": 50 * (iteration + 1), "env_steps": 5 * (iteration + 1), "seconds": 4.0 * (iteration + 1)}
    return {"iteration": iteration, **counts, "recent_success": 0.1, "reward": 1.0, **cost, **more}


def make(folder: Path, rows: Rows = (), **settings: Any) -> Path:
    """Write the files of a run whose settings plan four iterations, unless `settings` says otherwise."""
    folder.mkdir(parents=True)
    config = TrainConfig.from_flat({"iterations": 4} | settings)
    (folder / SETTINGS).write_text(config.model_dump_json())
    if rows:
        (folder / METRICS).write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


def test_the_cost_is_that_of_all_iterations(tmp_path: Path) -> None:
    found = summarize(make(tmp_path / "run", [row(0), row(1), row(2)]))
    assert (found.iterations, found.planned_iterations, found.seconds, found.env_steps) == (3, 4, 12.0, 15)
    assert (found.tokens, found.peak_memory, found.problem) == (120, 1000, "")
    earlier = [{name: row(0)[name] for name in ("iteration", "episodes", "env_steps", "seconds")}]
    found = summarize(make(tmp_path / "earlier", earlier))
    assert (found.tokens, found.peak_memory, found.best) == (None, None, None)


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row(0, recent_success=1.0), row(1, recent_success=0.4), row(2, recent_success=0.3)], ("success", 0.4)),
        ([row(0, recent_success=0.5)], ("success", 0.5)),  # fewer than 100 episodes
        ([row(0, recent_success=0, reward=-1.0), row(1, recent_success=0, reward=-2.0)], ("reward", -1.0)),
        ([row(0, recent_success=0.0, normalized_score=0.2)], ("success", 0.0)),  # the game could be won
        ([row(0), row(1, eval_success=0.25), row(2)], ("eval_success", 0.25)),
        ([row(0, recent_success=None, eval_reward=3.0)], ("eval_reward", 3.0)),
        ([row(0, recent_success=None, reward=None)], (None, None)),
        ([], (None, None)),
    ],
)
def test_the_best_result_is_the_win_rate_or_else_the_return(
    rows: Rows, best: tuple[str | None, float | None], tmp_path: Path
) -> None:
    found = summarize(make(tmp_path / "run", rows))
    assert (found.best_of, found.best) == best


@pytest.mark.parametrize(
    ("game", "name"), [("completion", "reward"), ("actde/Completion-v0", "reward"), ("ipd + bandit", "success")]
)
def test_a_game_that_cannot_be_won_is_ranked_by_its_return(game: str, name: str, tmp_path: Path) -> None:
    rows = [row(0, recent_success=0.0, normalized_score=0.2)]
    assert summarize(make(tmp_path / "run", rows, game=game)).best_of == name


def test_states(tmp_path: Path) -> None:
    stopped = make(tmp_path / "stopped", [row(0)])
    assert summarize(stopped).state == "stopped"
    assert summarize(make(tmp_path / "new")).state == "stopped"
    assert summarize(make(tmp_path / "full", [row(n) for n in range(4)])).state == "finished"
    assert summarize(make(tmp_path / "solved", [row(0), row(1)], stop_success=0.1)).state == "finished"
    assert summarize(make(tmp_path / "few", [row(0)], stop_success=0.1)).state == "stopped"  # 50 episodes
    assert summarize(make(tmp_path / "time", [row(0)], minutes=0.05)).state == "finished"
    (stopped / DIVERGED).write_text("{}")
    assert summarize(stopped).state == "diverged"
    with file_lock(stopped / LOCK):
        with (stopped / METRICS).open("a") as file:
            file.write('{"iteration": 1, "epis')  # a line that is being written
        found = summarize(stopped)
        assert (found.state, found.iterations) == ("running", 1)
    assert summarize(stopped).state == "diverged"


def test_a_lock_is_looked_up_without_a_trace(tmp_path: Path) -> None:
    lock, target = tmp_path / LOCK, tmp_path / "target"
    assert not is_locked(lock) and not lock.exists()
    target.write_text("kept")
    lock.symlink_to(target)
    assert not is_locked(lock) and target.read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (SETTINGS, "{", "settings.json is damaged"),
        (SETTINGS, '{"run": {"sede": 1}}', "unknown setting of run 'sede'"),
        (SETTINGS, '{"budget": {"iterations": 0}}', "iterations must be"),
        (SETTINGS, "[" * 10_000, "settings.json"),
        (METRICS, "nonsense\n", "metrics.jsonl, line 1 is damaged"),
        (METRICS, '{"iteration": 0}\n{"iteration": 2}\n', "metrics.jsonl, line 2 is damaged: expected iteration 1"),
        (METRICS, '{"iteration": 0, "seconds": "long"}\n', "seconds is 'long', expected a number"),
        (METRICS, '{"iteration": 0, "seconds": NaN}\n', "metrics.jsonl, line 1"),
    ],
)
def test_a_damaged_run_is_described_in_one_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    folder = make(tmp_path / "run", [row(0)])
    (folder / name).write_text(text)
    found = summarize(folder)
    assert found.state == "damaged" and problem in found.problem and "\n" not in found.problem
    assert (found.iterations, found.best, found.settings) == (None, None, None)


def test_a_file_that_blocks_its_reader_is_damage(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", [row(0)])
    (folder / METRICS).unlink()
    os.mkfifo(folder / METRICS)
    assert summarize(folder).state == "damaged"


def test_runs_are_found_below_a_folder(tmp_path: Path) -> None:
    runs = [make(tmp_path / name) for name in ("a", "b/c", "b/d/e")]
    make(tmp_path / "b" / ".hidden")
    make(tmp_path / "a" / "checkpoints" / "inside")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(find_runs(tmp_path)) == runs
    assert list(find_runs(runs[1])) == [runs[1]]
    with pytest.raises(AgentError, match="nowhere is no folder"):
        list(find_runs(tmp_path / "nowhere"))


def test_a_run_whose_metrics_end_before_its_checkpoint_is_damaged(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", [row(0)])
    for iteration in (1, 2):
        checkpoint = folder / "checkpoints" / f"{iteration:06d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "agent.json").write_text("{}")
        assert summarize(folder).state == ("stopped" if iteration == 1 else "damaged")
    assert summarize(folder).problem.endswith("it holds 1 iterations, but the checkpoint has 2")
    with file_lock(folder / LOCK):
        assert summarize(folder).state == "running"


def test_the_best_runs_come_first_and_damaged_ones_last(tmp_path: Path) -> None:
    make(tmp_path / "damaged")
    (tmp_path / "damaged" / SETTINGS).write_text("")
    make(tmp_path / "worse", [row(0, recent_success=0.2)])
    make(tmp_path / "return", [row(0, recent_success=0.0, reward=9.0)])
    make(tmp_path / "better", [row(0, recent_success=0.3)])
    make(tmp_path / "lower", [row(0, recent_success=0.0, reward=-9.0)])
    found = ranked(map(summarize, find_runs(tmp_path)))
    assert [run.folder.name for run in found] == ["better", "worse", "return", "lower", "damaged"]


def test_only_settings_with_several_values_differ() -> None:
    assert differing_settings([{"lr": 1, "seed": 0}, {"lr": 1, "seed": 1}]) == ["seed"]
    assert differing_settings([{"lr": 1}]) == differing_settings([]) == []


def test_values_of_most_runs_are_usual() -> None:
    settings = [{"lr": lr, "tau": tau} for lr, tau in ((0.1, 1), (0.1, 1), (0.2, 2), (0.1, 2))]
    assert most_common_settings(settings, ["lr", "tau"]) == {"lr": 0.1}
    assert most_common_settings([], ["lr"]) == {}
