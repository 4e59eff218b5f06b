"""The shipped agents are complete, small and documented, and win games on which they were not trained."""

import json
import shutil
from pathlib import Path

import pytest

import games
from agents import AgentError, make_agent, registry
from agents.config import TrainConfig
from agents.model import pretrained
from agents.play.evaluate import evaluate
from agents.registry import DEFAULT_GAME, FALLBACKS, SHIPPED, TRAINED, agent_folder
from agents.storage.checkpoint import load_agent
from agents.text.prompt import ReturnText
from agents.training.factory import make_trainer
from experiments.release import ship
from games.game_hash import game_hash
from tests.helpers.models import tiny_lm, tokenizer

SMALL = tuple(FALLBACKS.values())


@pytest.mark.parametrize("folder", sorted(SHIPPED.iterdir()), ids=lambda folder: folder.name)
def test_a_shipped_agent_is_small_safe_and_documented(folder: Path) -> None:
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {"agent.json", "model.safetensors", "tokenizer.json", "README.md"}
    about = json.loads((folder / "agent.json").read_text())
    assert sum(files.values()) < ship.MAX_BYTES["adapter" if about["model"]["lora"] else "whole"]
    assert bool(about["model"]["lora"]) == (folder.name in FALLBACKS)
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# {folder.name}\n")
    assert f"Seed {about['made_by']['run']['seed']}" in card
    assert "python -m experiments.release.ship" in card
    assert json.loads(card.partition("```json\n")[2].partition("```")[0]) == about["made_by"]


def test_the_small_agents_ship() -> None:
    assert all((SHIPPED / name / "agent.json").is_file() for name in SMALL)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SMALL else pytest.mark.slow)
        for name in TRAINED
        if (SHIPPED / name).is_dir()
    ],
)
def test_they_win_games_on_which_they_were_not_trained(name: str, game_cache: Path) -> None:
    held_out = f"textworld:quest?level=3&seed=2000000000..2000000003 + {DEFAULT_GAME}"
    specs = games.resolve(held_out)
    about = json.loads((SHIPPED / name / "agent.json").read_text())
    assert about["made_by"]["run"]["optimizer"] == name.removesuffix("-small")
    assert not {game_hash(spec) for spec in specs} & set(about["trained_on"])
    agent = make_agent(name, seed=0, greedy=True)
    won = evaluate(agent, specs, game=held_out, episodes=5, seed=0, max_turns=15)
    by_chance = evaluate(make_agent("random", seed=0), specs, game=held_out, episodes=5, seed=0, max_turns=15)
    assert won.success_rate is not None and by_chance.success_rate is not None
    assert won.success_rate.value >= 0.8 > by_chance.success_rate.value


def test_each_wins_the_default_game(game_cache: Path) -> None:
    for name in SMALL:
        shown = evaluate(make_agent(name, seed=0), games.resolve(DEFAULT_GAME), game=DEFAULT_GAME, episodes=1, seed=0)
        assert shown.success_rate is not None and shown.success_rate.value == 1.0


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped agents: `actde-small`, and `ppo-small` under the name of the large agent `actde`."""
    for name, source in (("actde-small", "actde-small"), ("actde", "ppo-small")):
        shutil.copytree(SHIPPED / source, tmp_path / name)
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)
    return tmp_path


def test_the_large_agent_plays_if_its_package_is_installed(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "missing_packages", lambda: None)
    said: list[str] = []
    assert agent_folder("actde", said.append) == shelf / "actde"
    assert said == []


def test_without_the_package_the_small_agent_replaces_it_with_a_note(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no-such-package")
    said: list[str] = []
    assert agent_folder("actde", said.append) == shelf / "actde-small"
    (line,) = said
    assert "actde plays as actde-small" in line and "no-such-package" in line and "\n" not in line
    with pytest.warns(RuntimeWarning, match="plays as actde-small"):
        agent_folder("actde")


def test_without_a_large_agent_the_small_one_plays_silently(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no-such-package")
    shutil.rmtree(shelf / "actde")
    assert agent_folder("actde") == shelf / "actde-small"
    assert agent_folder("actde-small") == shelf / "actde-small"
    with pytest.raises(AgentError, match="the trained agent 'ppo' is missing"):
        agent_folder("ppo")
    with pytest.raises(AgentError, match="did you mean 'actde-small'"):
        agent_folder("actde-smal")


def test_an_adapter_ships_without_its_trunk(tmp_path: Path, game_cache: Path) -> None:
    base, words = tmp_path / "base", tokenizer()
    tiny_lm("llama", len(words), positions=1024).save_pretrained(base)
    words.save_pretrained(base)
    game = "textworld:coin?level=1&seed=0"
    values = {"game": game, "trunk": str(base), "lora": 2, "iterations": 1, "episodes": 2, "max_turns": 3}
    list(make_trainer(TrainConfig.from_flat(values), tmp_path / "run").run())
    out = tmp_path / "actde"
    command = "python -m experiments.release.ship"
    ship.ship(tmp_path / "run", out, "textworld:coin?level=2&seed=5", episodes=2, command=command)
    assert (out / "model.safetensors").stat().st_size < (base / "model.safetensors").stat().st_size
    card = (out / "README.md").read_text()
    assert card.startswith("# actde\n") and "An adapter (LoRA of rank 2)" in card and "random weights" not in card
    shipped, trained = load_agent(out).model.state_dict(), load_agent(tmp_path / "run").model.state_dict()
    assert all((shipped[name] - trained[name]).abs().max() < 1e-3 for name in trained)
    assert json.loads((out / "agent.json").read_text())["trained_on"] == [game_hash(games.resolve(game)[0])]
    with pytest.raises(games.GameError, match="not held out"):
        ship.ship(tmp_path / "run", out, game, episodes=2, command="")


def test_a_shipped_agent_states_returns_as_its_run_does(tmp_path: Path, game_cache: Path) -> None:
    values = {"game": "textworld:coin?level=1&seed=0", "optimizer": "decision", "iterations": 1, "episodes": 2}
    values |= {"max_turns": 3, "wanted_return": 0.5, "return_text": "prefix", "trunk": "small"}
    list(make_trainer(TrainConfig.from_flat(values), tmp_path / "run").run())
    ship.ship(tmp_path / "run", tmp_path / "out", "textworld:coin?level=2&seed=5", episodes=1, command="")
    assert load_agent(tmp_path / "out").prompt.returns == ReturnText(position="prefix", target=0.5)


def test_an_agent_that_is_too_large_does_not_ship(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(ship.MAX_BYTES["whole"] + 1))
    with pytest.raises(AgentError, match="8,000,001 bytes"):
        ship.check_size(folder, adapter=False)
    assert not folder.exists()
