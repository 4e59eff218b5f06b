"""The agents that ship with the project are whole, small, documented, and win games that they were not trained on."""

import json
from pathlib import Path

import pytest

import games
from agents import make_agent
from agents.evaluate import evaluate
from agents.registry import SHIPPED
from games.identity import game_hash

HELD_OUT = "textworld:coin?level=3&goal=none&seed=100..103"


@pytest.mark.parametrize("name", ["actde", "ppo"])
def test_it_is_small_safe_and_says_what_made_it(name: str) -> None:
    folder = SHIPPED / name
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {"agent.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert sum(files.values()) < 4_000_000
    about = json.loads((folder / "agent.json").read_text())
    assert about["made_by"]["train"]["optimizer"] == name
    card = (folder / "README.md").read_text()
    assert f"Seed {about['made_by']['train']['seed']}" in card
    assert "python -m experiments.ship" in card
    assert json.loads(card.partition("```json\n")[2].partition("```")[0]) == about["made_by"]


@pytest.mark.parametrize("name", ["actde", "ppo"])
def test_it_wins_games_that_it_was_not_trained_on(name: str, game_cache: Path) -> None:
    specs = games.resolve(HELD_OUT)
    about = json.loads((SHIPPED / name / "agent.json").read_text())
    assert not {game_hash(spec) for spec in specs} & set(about["trained_on"])
    agent, player = make_agent(name, seed=0), make_agent("random", seed=0)
    won = evaluate(agent, specs, game=HELD_OUT, episodes=20, seed=0)
    by_chance = evaluate(player, specs, game=HELD_OUT, episodes=20, seed=0)
    assert won.success_rate.value == 1.0
    assert won.steps.value < by_chance.steps.value / 2
