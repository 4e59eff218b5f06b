"""Turn a run into a shipped agent: `python -m experiments.release.ship RUN OUT --game HELD_OUT`.

The weights of the newest checkpoint are stored as float16, without the training state. The agent then plays held-out
games, and the model card reports the results. An error is raised if a held-out game has the same hash as a training
game. If the agent has an adapter, only the adapter and the heads are stored, since a Python package contains the trunk.
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
from agents.config import SCRATCH, ModelConfig
from agents.play.evaluate import Evaluation, evaluate
from agents.protocol import AgentError
from agents.storage.checkpoint import AGENT, load_agent, newest, read_json, save_agent
from agents.storage.run_folder import read_metrics
from experiments import program
from experiments.card.held_out import training_games
from experiments.tables import interval, table
from games.files import atomic_write, exclusive
from games.game_hash import game_hash

MAX_BYTES = {"adapter": 20_000_000, "whole": 8_000_000}  # of an agent with an adapter, and of one stored completely
DESCRIPTION = ("name", "prompt", "mode", "context", "guide_beta", "return_text", "wanted_return", "made_by")
"""Fields that are copied from the run's `agent.json`."""


def ship(run: Path, out: Path, game: str, *, episodes: int, command: str) -> None:
    """Write the agent of a run and its model card into the folder `out`.

    The agent is evaluated on the held-out games `game`. The model card states `command`.

    Raises:
        GameError: the agent was trained on one of the held-out games.
        AgentError: the agent is larger than MAX_BYTES.
    """
    about = read_json(newest(run) / AGENT)
    agent = load_agent(run)
    trained_on = training_games(about)
    seen = [spec.name for spec in games.resolve(game) if game_hash(spec) in trained_on]
    if seen:
        raise games.GameError(f"{seen[0]} is not held out: the agent was trained on it; choose other games")
    description = {name: about[name] for name in DESCRIPTION if name in about} | {"trained_on": sorted(trained_on)}
    save_agent(out, agent.model, agent.tokenizer, ModelConfig(**about["model"]), description, dtype=torch.float16)
    check_size(out, adapter=about["model"]["lora"] > 0)
    players = {"sampled": str(out), "greedy": str(out), "random": "random", "walkthrough": "walkthrough"}
    rows = {how: _measure(player, game, episodes, greedy=how == "greedy") for how, player in players.items()}
    atomic_write(out / "README.md", model_card(description, read_metrics(run)[-1], rows, game, command, name=out.name))


def check_size(folder: Path, *, adapter: bool) -> None:
    """If the folder of an agent is larger than MAX_BYTES allows, delete it and raise AgentError.

    `adapter` says whether the folder holds only an adapter and heads, for which another limit applies.
    """
    size, most = sum(path.stat().st_size for path in folder.iterdir()), MAX_BYTES["adapter" if adapter else "whole"]
    if size > most:
        shutil.rmtree(folder)
        raise AgentError(
            f"{folder.name} has {size:,} bytes, expected at most {most:,}; train a smaller adapter or trunk"
        )


def _measure(agent: str, game: str, episodes: int, *, greedy: bool) -> Evaluation:
    specs = games.resolve(game)
    return evaluate(make_agent(agent, seed=1, greedy=greedy), specs, game=game, episodes=episodes, seed=1, parallel=8)


def model_card(
    about: Mapping[str, Any],
    last: Mapping[str, Any],
    rows: Mapping[str, Evaluation],
    game: str,
    command: str,
    name: str,
) -> str:
    """Return the model card, which describes the agent, its training, and its results on held-out games.

    `about` contains the fields `DESCRIPTION` of `agent.json`. `last` holds the metrics of the last iteration, and
    `rows` the results of each player on `game`. `command` is the command that shipped the agent.
    """
    train = {name: value for group in about["made_by"].values() for name, value in group.items()}
    has_q = optimizer_class(train["optimizer"]).needs_q or train["train_q"]
    measures = ("success_rate", "normalized_score", "steps")
    cells = [[player, *(interval(row.to_json()[name]) for name in measures)] for player, row in rows.items()]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{_model(train)}, policy, value{' and Q' if has_q else ''} heads) trained by"
            f" {about['name'].upper()} on `{train['game']}`, {_origin(train)}: {last['episodes']} episodes,"
            f" {last['env_steps']} commands, {last['seconds'] / 60:.1f} minutes. Weights are float16, safetensors.",
            "",
            f"Seed {train['seed']}. The settings of the run are below. It was shipped by",
            "",
            f"    {command}",
            "",
            f"Results on `{game}`, held-out games ({rows['sampled'].episodes} episodes, 95% intervals):",
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
    )


def _model(train: Mapping[str, Any]) -> str:
    trunk = f"trunk `{train['trunk']}`"
    if not train["lora"]:
        return f"A small language model ({trunk}, words as tokens"
    adapter = f"An adapter (LoRA of rank {train['lora']})"
    return f"{adapter} of the pretrained {trunk}, which is not stored here (the trunk's tokens"


def _origin(train: Mapping[str, Any]) -> str:
    if train.get("init"):
        return f"starting from `{train['init']}`"
    weights = "random weights" if train["trunk"] in SCRATCH else "the pretrained model"
    imitation = optimizer_class(train["optimizer"]).labels == "expert"
    return f"from {weights} and {'by imitating demonstrations' if imitation else 'without demonstrations'}"


@program.one_line_errors()
def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--game", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    given = parser.parse_args()
    command = "python -m experiments.release.ship " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    with exclusive(given.out.parent, given.out.name):
        ship(given.run, given.out, given.game, episodes=given.episodes, command=command)


if __name__ == "__main__":
    main()
