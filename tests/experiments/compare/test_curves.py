"""Learning curves of arbitrary runs: groups of seeds, and one-line errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.config import TrainConfig
from agents.protocol import AgentError
from experiments.compare.curves import draw, group_seeds, main


def write_run(folder: Path, rewards: list[float], **settings: Any) -> Path:
    folder.mkdir()
    (folder / "settings.json").write_text(TrainConfig.from_flat(settings).model_dump_json())
    lines = [
        {"iteration": n, "episodes": 4 * (n + 1), "reward": reward, "turn_entropy": 1.0}
        for n, reward in enumerate(rewards)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_runs_that_differ_only_in_the_seed_share_a_line(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", [0.0], optimizer="ppo", seed=0)
    second = write_run(tmp_path / "b", [0.0], optimizer="ppo", seed=1)
    third = write_run(tmp_path / "c", [0.0], optimizer="ppo", kl_coef=0.5)
    fourth = write_run(tmp_path / "d", [0.0], optimizer="actde", q_lr=0.1)
    assert group_seeds([first, second]) == {"ppo": [first, second]}
    assert list(group_seeds([first, third])) == ["ppo, kl_coef 0.0", "ppo, kl_coef 0.5"]
    assert list(group_seeds([first, fourth])) == ["ppo, q_lr None", "actde, q_lr 0.1"]


def test_every_run_is_drawn_and_the_mean_ends_with_the_shortest(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [0.0, 1.0, 2.0]), write_run(tmp_path / "b", [2.0, 3.0], seed=1)]
    draw(runs, ["reward", "turn_entropy"], tmp_path / "one.svg")
    draw(runs, ["reward", "turn_entropy"], tmp_path / "two.svg")
    drawn = (tmp_path / "one.svg").read_text()
    assert "<!-- entropy over commands, nats -->" in drawn and "<!-- reward -->" in drawn
    assert drawn == (tmp_path / "two.svg").read_text()
    assert drawn.count("<!-- actde -->") == 1, "both seeds have one label"


def test_a_user_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", [1.0])
    with pytest.raises(AgentError, match="no metric 'kl_ref'; it has episodes, iteration, reward, turn_entropy"):
        draw([run], ["kl_ref"], tmp_path / "figure.svg")
    with pytest.raises(AgentError, match="nothing yet"):
        draw([write_run(tmp_path / "b", [])], ["reward"], tmp_path / "figure.svg")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "none"), "--out", str(tmp_path / "figure.svg")])
    error = capsys.readouterr().err
    assert (stopped.value.code, error.count("\n")) == (2, 1) and error.startswith("error: ")
    assert not (tmp_path / "figure.svg").exists()
