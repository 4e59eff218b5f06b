"""Export a trained agent with its model card: `python -m experiments.release.ship RUN OUT --game HELD_OUT`."""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from typer import Option

import games
from actde import optimizer_class
from agents import make_agent
from agents.config import SCRATCH, ModelConfig
from agents.play.evaluate import Evaluation, evaluate
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, save_agent
from agents.storage.checkpoint_files import AGENT, newest, read_json
from agents.storage.run_folder import read_metrics
from experiments import program
from experiments.card.held_out import training_games
from experiments.tables import interval, table
from games.files import atomic_write, exclusive
from games.game_hash import game_hash

MAX_BYTES = {"adapter": 20_000_000, "whole": 8_000_000}  # of an agent with an adapter, and of one stored completely
# fields that are copied from the run's `agent.json`
DESCRIPTION = ("name", "prompt", "mode", "context", "guide_beta", "return_text", "wanted_return", "made_by")


def ship(run: Path, out: Path, game: str, *, episodes: int, command: str) -> None:
    """Write a run's agent and model card into `out`. Raise GameError if `game` includes a training game."""
    metadata = read_json(newest(run) / AGENT)
    agent, specs, trained_on = load_agent(run), games.resolve(game), training_games(metadata)
    if not_held_out := [spec.name for spec in specs if game_hash(spec) in trained_on]:
        raise games.GameError(f"{not_held_out[0]} is not held out: the agent was trained on it; choose other games")
    description = {name: metadata[name] for name in DESCRIPTION if name in metadata} | {
        "trained_on": sorted(trained_on)
    }
    save_agent(out, agent.model, agent.tokenizer, ModelConfig(**metadata["model"]), description, dtype=torch.float16)
    check_size(out, adapter=metadata["model"]["lora"] > 0)
    players = {"sampled": str(out), "greedy": str(out), "random": "random", "walkthrough": "walkthrough"}
    rows = {
        label: evaluate(
            make_agent(player, seed=1, greedy=label == "greedy"),
            specs,
            game=game,
            episodes=episodes,
            seed=1,
            parallel=8,
        )
        for label, player in players.items()
    }
    atomic_write(out / "README.md", model_card(description, read_metrics(run)[-1], rows, game, command, name=out.name))


def check_size(folder: Path, *, adapter: bool) -> None:
    """If the agent in `folder` exceeds `MAX_BYTES`, delete `folder` and raise AgentError."""
    size, limit = sum(path.stat().st_size for path in folder.iterdir()), MAX_BYTES["adapter" if adapter else "whole"]
    if size > limit:
        shutil.rmtree(folder)
        raise AgentError(
            f"{folder.name} has {size:,} bytes, expected at most {limit:,}; train a smaller adapter or trunk"
        )


def model_card(
    metadata: Mapping[str, Any],
    metrics: Mapping[str, Any],
    rows: Mapping[str, Evaluation],
    game: str,
    command: str,
    name: str,
) -> str:
    """Return the model card as Markdown. `rows` maps players to evaluations."""
    settings = {name: value for group in metadata["made_by"].values() for name, value in group.items()}
    has_q = optimizer_class(settings["optimizer"]).needs_q or settings["train_q"]
    measures = ("success_rate", "normalized_score", "steps")
    cells = [[player, *(interval(row.to_json()[name]) for name in measures)] for player, row in rows.items()]
    training = (
        f"{_model(settings)}, policy, value{' and Q' if has_q else ''} heads) trained by {metadata['name'].upper()} on"
        f" `{settings['game']}`, {_origin(settings)}: {metrics['episodes']} episodes, {metrics['env_steps']} commands,"
        f" {metrics['seconds'] / 60:.1f} minutes. Weights are float16, safetensors."
    )
    return f"""# {name}

{training}

Seed {settings["seed"]}. The settings of the run are below. It was shipped by

    {command}

Results on `{game}`, held-out games ({rows["sampled"].episodes} episodes, 95% intervals):

{table(["player", "won", "score", "commands"], cells)}

Settings:

```json
{json.dumps(metadata["made_by"], indent=1)}
```
"""


def _model(settings: Mapping[str, Any]) -> str:
    trunk = f"trunk `{settings['trunk']}`"
    if not settings["lora"]:
        return f"A small language model ({trunk}, words as tokens"
    adapter = f"An adapter (LoRA of rank {settings['lora']})"
    return f"{adapter} of the pretrained {trunk}, which is not stored here (the trunk's tokens"


def _origin(settings: Mapping[str, Any]) -> str:
    if settings.get("init"):
        return f"starting from `{settings['init']}`"
    weights = "random weights" if settings["trunk"] in SCRATCH else "the pretrained model"
    imitation = optimizer_class(settings["optimizer"]).labels == "expert"
    return f"from {weights} and {'by imitating demonstrations' if imitation else 'without demonstrations'}"


def main(run: Path, out: Path, game: Annotated[str, Option()], episodes: int = 100) -> None:
    """Turn a run into a shipped agent."""
    command = f"python -m experiments.release.ship {shlex.join(sys.argv[1:])}"
    with exclusive(out.parent, out.name):
        ship(run, out, game, episodes=episodes, command=command)


if __name__ == "__main__":
    program.run(main)
