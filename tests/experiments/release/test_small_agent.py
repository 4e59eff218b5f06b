"""The command that trains and ships a small agent: all stages, resuming, and failure."""

import json
import sys
from pathlib import Path

import pytest

from agents import make_agent
from agents.storage.run_folder import SETTINGS
from experiments import program
from experiments.release import small_agent

TINY = ("--iterations", "2", "--episodes", "2", "--parallel", "2", "--max-turns", "3")


@pytest.mark.slow
def test_every_stage_runs_and_the_same_command_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_agent, "FAMILIES", {"coin": ("2,3", 2)})
    monkeypatch.setattr(small_agent, "IMITATION", ("--trunk", "pico", *TINY))
    monkeypatch.setattr(small_agent, "REINFORCEMENT", TINY)
    evaluation = ("--episodes", "1", "--game", "textworld:coin?level=3&seed=2000000000")
    monkeypatch.setattr(small_agent, "EVALUATION", evaluation)
    monkeypatch.setattr(sys, "argv", ["small", "ppo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        program.run(small_agent.main)
    made = {path.parent.parent.name: len(path.read_text().splitlines()) for path in tmp_path.rglob("manifest.jsonl")}
    assert made == {"games-imitation": 4, "games-reinforcement": 2}
    assert make_agent(str(tmp_path / "ppo-small"), seed=0).name == "ppo"
    about = json.loads((tmp_path / "ppo-small" / "agent.json").read_text())
    assert about["made_by"]["run"]["init"] == str(tmp_path / "prior")

    again = [small_agent.resumed(stage) for stage in small_agent.stages("ppo", tmp_path)]
    assert again[1] == ["train", "--resume", "--out", str(tmp_path / "prior")]
    assert again[0] == small_agent.stages("ppo", tmp_path)[0], "the same command continues a curriculum"
    elsewhere = small_agent.stages("ppo", tmp_path / "elsewhere")
    assert [small_agent.resumed(stage) for stage in elsewhere] == elsewhere


def test_a_failed_stage_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_agent, "FAMILIES", {"coins": ("1", 1)})
    monkeypatch.setattr(sys, "argv", ["small", "ppo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        program.run(small_agent.main)
    assert stopped.value.code == 2
    assert not list(tmp_path.rglob(SETTINGS))
