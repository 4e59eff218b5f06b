"""Evaluation beside baselines in the terminal."""

from pathlib import Path

import pytest
from rich.console import Group

import agents
from agents.play.baselines import RandomAgent
from agents.play.transcript import NAME, read
from terminal import evaluation
from tests.terminal.test_display import drawn


def test_a_note_names_all_agents_that_cannot_play(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make_agent(name: str, **_: object) -> RandomAgent:
        if name != "writer":
            raise agents.AgentError("the game offers no commands")
        return RandomAgent(seed=0)

    monkeypatch.setattr(agents, "make_agent", make_agent)
    monkeypatch.setattr(agents, "games_trained_on", lambda name, specs: None)
    [row] = evaluation.evaluate_beside_baselines("writer", "bandit", sampling={"seed": 0}, episodes=1)
    assert row.agent == "writer"
    assert capsys.readouterr().err == "left out random and walkthrough: the game offers no commands\n"


def test_a_game_that_reports_only_wins_has_lost_the_other_episodes(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(
        "import gymnasium\n"
        "class Gate(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return 'A gate.', {'admissible_commands': ['knock', 'wait'], 'extra.walkthrough': ['open']}\n"
        "    def step(self, action):\n"
        "        return 'Well.', 0.0, True, False, {'won': True} if action == 'open' else {}\n"
    )
    rows = evaluation.evaluate_beside_baselines(
        "random", f"{tmp_path}/gate.py:Gate", sampling={"seed": 0}, episodes=4, parallel=1
    )
    assert [(row.agent, row.success_rate and row.success_rate.value) for row in rows] == [
        ("random", 0.0),
        ("walkthrough", 1.0),
    ]


def test_each_agent_gets_a_folder_of_its_episodes(tmp_path: Path) -> None:
    def evaluate() -> None:
        evaluation.evaluate_beside_baselines(
            "random", "textworld:simple?seed=1", sampling={"seed": 0}, episodes=2, save=tmp_path, max_turns=30
        )

    evaluate()
    saved = {path.parent.name: list(read(path)) for path in tmp_path.glob(f"*/{NAME}")}
    assert {name: len(entries) for name, entries in saved.items()} == {"random": 2, "walkthrough": 2}
    seeds = [{entry.episode.seed for entry in entries} for entries in saved.values()]
    assert seeds[0] == seeds[1], "the agents can be compared"
    with pytest.raises(agents.AgentError, match="already exists; choose another folder"):
        evaluate()


@pytest.mark.parametrize(
    ("agent", "folder"), [("actde-small", "actde-small"), ("runs/a.b", "runs_a_b"), ("../x/", "x"), ("..", "agent")]
)
def test_the_folder_of_an_agent_has_a_plain_name(agent: str, folder: str) -> None:
    assert evaluation.folder_name(agent) == folder


def test_success_is_computed_from_the_episodes_in_the_order_of_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late.py").write_text(
        "import gymnasium\n"
        "class Late(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    def __init__(self, turns: int = 1) -> None:\n"
        "        self.turns = turns\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        self.left = self.turns\n"
        "        return 'Wait.', {'admissible_commands': ['wait']}\n"
        "    def step(self, action):\n"
        "        self.left -= 1\n"
        "        return 'On.', 0.0, not self.left, False, {'admissible_commands': ['wait'], 'won': self.turns > 2}\n"
    )
    received: list[object] = []
    monkeypatch.setattr(evaluation, "estimate", lambda values, **_: received.append(values))
    game = f"{tmp_path}/late.py:Late?turns=3 + {tmp_path}/late.py:Late?turns=1"
    evaluation.evaluate_beside_baselines("random", game, sampling={"seed": 0}, episodes=4)
    assert received[0] == [True, False, True, False], "the short episodes, which are not won, end first"


def test_games_of_several_levels_have_a_row_per_level_and_one_for_all() -> None:
    rows = evaluation.evaluate_beside_baselines(
        "random", "textworld:coin?level=1..2&seed=1..2", sampling={"seed": 0}, episodes=8, max_turns=4
    )
    lines = [line.split() for line in drawn(evaluation.level_table(rows), 80).splitlines() if "%" in line]
    assert [line[:2] for line in lines if len(line) == 4] == [["1", "4"], ["2", "4"], ["all", "8"]]
    means = [[float(cell.rstrip("%")) for cell in line[2:]] for line in lines if len(line) == 4]
    assert means[2] == [pytest.approx((one + two) / 2, abs=1) for one, two in zip(*means[:2], strict=True)]
    assert [level["level"] for level in rows[0].to_json()["levels"]] == [1, 2]
    [single] = evaluation.evaluate_beside_baselines("random", "ipd", sampling={"seed": 0}, episodes=2, max_turns=2)
    assert "levels" not in single.to_json() and "by level" not in drawn(Group(*evaluation.report([single])), 80)
