"""Makes a shipped agent out of a run: `python -m experiments.release.ship RUN OUT --game HELD_OUT`.

Takes the run's newest checkpoint, stores its weights as float16 without what only training needs, plays
games that it was not trained on (their hashes say so), and writes a model card in which every number comes from
that. Of an agent with an adapter only adapter and heads are stored; its trunk comes in a package.
"""

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import games
from actde import optimizer_class
from agents import make_agent
from agents.config import ModelConfig
from agents.model.build import SCRATCH
from agents.play.evaluate import Evaluation, evaluate
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, newest, read_json, save_agent
from agents.storage.run_folder import read_metrics
from experiments.compare.collapse_tables import interval
from experiments.tables import table
from games.files import atomic_write
from games.game_hash import game_hash

MOST = {"adapter": 20_000_000, "whole": 8_000_000}
"""What a shipped agent may take, bytes: one with an adapter, and one that is stored whole."""
KEPT = ("name", "prompt", "mode", "context", "made_by")
"""What the shipped `agent.json` says beside the model."""


def ship(run: Path, out: Path, game: str, *, episodes: int, command: str) -> None:
    """Write the agent of `run` and its card into `out`; `game` names the held-out games it is measured on."""
    about = read_json(newest(run) / "agent.json")
    agent = load_agent(run)
    trained_on = set(about.get("trained_on") or map(game_hash, games.resolve(about["made_by"]["run"]["game"])))
    seen = [spec.name for spec in games.resolve(game) if game_hash(spec) in trained_on]
    if seen:
        raise games.GameError(f"{seen[0]} is not held out: the agent was trained on it; choose other games")
    description = {name: about[name] for name in KEPT} | {"trained_on": sorted(trained_on)}
    save_agent(out, agent.model, agent.tokenizer, ModelConfig(**about["model"]), description, dtype=torch.float16)
    check_size(out, adapter=about["model"]["lora"] > 0)
    rows = {
        "sampled": _measure(str(out), game, episodes, greedy=False),
        "greedy": _measure(str(out), game, episodes, greedy=True),
        "random": _measure("random", game, episodes, greedy=False),
        "walkthrough": _measure("walkthrough", game, episodes, greedy=False),
    }
    atomic_write(out / "README.md", card(description, read_metrics(run)[-1], rows, game, command, name=out.name))


def check_size(folder: Path, *, adapter: bool) -> None:
    """Delete the folder again and raise AgentError where it is larger than what ships (MOST)."""
    size, most = sum(path.stat().st_size for path in folder.iterdir()), MOST["adapter" if adapter else "whole"]
    if size > most:
        shutil.rmtree(folder)
        raise AgentError(
            f"{folder.name} takes {size:,} bytes, expected at most {most:,}; train a smaller adapter or trunk"
        )


def _measure(agent: str, game: str, episodes: int, *, greedy: bool) -> Evaluation:
    specs = games.resolve(game)
    return evaluate(make_agent(agent, seed=1, greedy=greedy), specs, game=game, episodes=episodes, seed=1, parallel=8)


def card(
    about: Mapping[str, Any],
    last: Mapping[str, Any],
    rows: Mapping[str, Evaluation],
    game: str,
    command: str,
    *,
    name: str,
) -> str:
    """The model card: what it is, what made it, how it does on games that it has not seen."""
    train = {name: value for group in about["made_by"].values() for name, value in group.items()}
    measures = ("success_rate", "normalized_score", "steps")
    cells = [[player, *(interval(row.to_json()[name]) for name in measures)] for player, row in rows.items()]
    lines = [
        f"# {name}",
        "",
        f"{_model(train)}, policy, value{' and Q' if about['name'] == 'actde' else ''} heads) that learned by"
        f" {about['name'].upper()} to play `{train['game']}`, {_beginning(train)}: {last['episodes']} episodes,"
        f" {last['env_steps']} commands, {last['seconds'] / 60:.1f} minutes. Weights are float16, safetensors.",
        "",
        f"Seed {train['seed']}. Made by the run whose settings are below, then by",
        "",
        f"    {command}",
        "",
        f"On `{game}`, games that it was not trained on ({rows['sampled'].episodes} episodes, 95% intervals):",
        "",
        table(["player", "won", "score", "commands"], cells),
        "",
        "Settings:",
        "",
        "```json",
        json.dumps(about["made_by"], indent=1),
        "```",
        "",
    ]
    return "\n".join(lines)


def _model(train: Mapping[str, Any]) -> str:
    if train["lora"]:
        return (
            f"An adapter (LoRA of rank {train['lora']}) of the pretrained trunk `{train['trunk']}`, which is not stored"
            " here (its own tokens"
        )
    return f"A small language model (trunk `{train['trunk']}`, words as tokens"


def _beginning(train: Mapping[str, Any]) -> str:
    """What it began with, and whether anybody showed it how to play."""
    if train.get("init"):
        return f"beginning with what `{train['init']}` had learned"
    weights = "random weights" if train["trunk"] in SCRATCH else "the pretrained model"
    taught = optimizer_class(train["optimizer"]).labels == "expert"
    return f"from {weights} and {'by imitating demonstrations' if taught else 'without demonstrations'}"


def main() -> None:
    """Read the arguments and ship."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--game", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    given = parser.parse_args()
    command = "python -m experiments.release.ship " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    try:
        ship(given.run, given.out, given.game, episodes=given.episodes, command=command)
    except (AgentError, games.GameError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
