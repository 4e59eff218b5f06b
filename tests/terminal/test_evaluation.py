"""Evaluation beside baselines in the terminal."""

import pytest

import agents
from agents.play.baselines import RandomAgent
from terminal import evaluation


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
