"""Measure how well value and Q heads, trained on texts of a fixed policy, predict returns."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from typing_extensions import TypedDict

from agents.protocol import AgentError
from experiments import program
from experiments.compare.grid import rounded
from experiments.rlhf import fit_report
from experiments.rlhf.fit_rollouts import REWARD, Rollout, SampledReturns, with_lower_states, write_rollouts
from experiments.rlhf.fit_training import fit, ridge
from experiments.rlhf.sampled_returns import SAMPLES, TOKENS, moments_of, sample_returns
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json

FIELDS = ("choices", "tokens", "returns")  # the fields of `SampledReturns`, which an unfinished seed stores


class StoredFits(TypedDict):
    """The content of `fit.json`."""

    settings: dict[str, Any]
    runs: list[dict[str, Any]]


DEFAULT: dict[str, Any] = {
    "q_lr": 1e-3,
    "value_lr": 1e-3,
    "layers": 1,
    "epochs": 2,
    "dueling": True,
    "gae_lambda": 0.95,
    "target_q": False,
    "q_heads": 1,
    "weight_decay": 0.0,
    "replay": 1,
    "own_layers": 0,
    "layers_lr": 1e-5,
    "returns_per_token": 0,
}
"""The default setting. Most entries are options of the heads or of the optimizer. The other entries are:

own_layers: number of layers that the heads do not share with the policy.
layers_lr: learning rate of the `own_layers`.
returns_per_token: number of sampled returns per target, or 0 for lambda-returns.

The default of a new entry must be the earlier behaviour, because stored results may lack the entry.
"""
CHANGES: dict[str, dict[str, Any]] = {  # name of a setting -> its differences from `DEFAULT`
    "both rates 1e-3": {},
    "q_lr 1e-2": {"q_lr": 1e-2},
    "q_lr 3e-4": {"q_lr": 3e-4},
    "q_lr 1e-4": {"q_lr": 1e-4},
    "q_lr 1e-5": {"q_lr": 1e-5},
    "both rates 1e-4": {"q_lr": 1e-4, "value_lr": 1e-4},
    "both rates 1e-5": {"q_lr": 1e-5, "value_lr": 1e-5},
    "two layers": {"layers": 2},
    "two layers, both rates 1e-4": {"layers": 2, "q_lr": 1e-4, "value_lr": 1e-4},
    "not dueling": {"dueling": False},
    "not dueling, both rates 1e-4": {"dueling": False, "q_lr": 1e-4, "value_lr": 1e-4},
    "target heads": {"target_q": True},
    "two Q heads": {"q_heads": 2},
    "lambda 1": {"gae_lambda": 1.0},
    "lambda 1, both rates 1e-4": {"gae_lambda": 1.0, "q_lr": 1e-4, "value_lr": 1e-4},
    "8 epochs": {"epochs": 8},
    "8 epochs, both rates 1e-4": {"epochs": 8, "q_lr": 1e-4, "value_lr": 1e-4},
    "8 rollouts of replay": {"replay": 8},
    "8 rollouts of replay, both rates 1e-4": {"replay": 8, "q_lr": 1e-4, "value_lr": 1e-4},
    "weight decay 1": {"weight_decay": 1.0},
    "6 own layers, rate 1e-5": {"own_layers": 6, "layers_lr": 1e-5, "q_lr": 1e-4, "value_lr": 1e-4},
    "6 own layers, rate 1e-4": {"own_layers": 6, "layers_lr": 1e-4, "q_lr": 1e-4, "value_lr": 1e-4},
    "1 return per token, both rates 1e-4": {"returns_per_token": 1, "q_lr": 1e-4, "value_lr": 1e-4},
    "4 returns per token, both rates 1e-4": {"returns_per_token": 4, "q_lr": 1e-4, "value_lr": 1e-4},
}


def markdown(results: StoredFits) -> str:
    return fit_report.markdown(CHANGES, results["runs"])


def main(
    out: Annotated[Path, typer.Option(help="folder of fit.md and fit.json")],
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Compute the missing results, and write `fit.json` and `fit.md`."""
    path = out / "fit.json"
    settings = {"default": DEFAULT, "changes": CHANGES, "sampled": [TOKENS, SAMPLES]}
    with exclusive(out, path.name, "fit.md"):
        runs = unchanged_runs(read_json(path, StoredFits, error=AgentError)) if path.is_file() else []
        results: StoredFits = {"settings": settings, "runs": runs}
        for seed in range(seeds):
            if seed == len(runs):
                runs.append({"seed": seed, "settings": {}})
            complete(runs[seed], lambda: atomic_write(path, json.dumps(results, allow_nan=False) + "\n"))
            atomic_write(out / "fit.md", markdown(results))


def unchanged_runs(stored: StoredFits) -> list[dict[str, Any]]:
    """Return the stored runs without the results of changed or removed settings."""
    stored_default, changes = DEFAULT | stored["settings"].get("default", {}), stored["settings"].get("changes", {})
    unchanged_names = {
        name for name in CHANGES.keys() & changes.keys() if stored_default | changes[name] == DEFAULT | CHANGES[name]
    }
    discarded_keys: tuple[str, ...] = ()
    if stored["settings"].get("sampled") != [TOKENS, SAMPLES]:
        discarded_keys = ("sampled", "moments")
        unchanged_names -= {name for name, change in CHANGES.items() if change.get("returns_per_token")}
    return [
        {key: value for key, value in run.items() if key not in discarded_keys}
        | {"settings": {name: scores for name, scores in run["settings"].items() if name in unchanged_names}}
        for run in stored["runs"]
    ]


def complete(run: dict[str, Any], write: Callable[[], None]) -> None:
    """Add one seed's missing results to `run`, and store new results with `write`."""
    seed, scores = run["seed"], run["settings"]
    missing = [name for name in CHANGES if name not in scores]
    if not missing and "ridge" in run and "moments" in run:
        return
    rollouts, agent = write_rollouts(seed)
    embedding = agent.model.base.get_output_embeddings().weight.detach().float()
    if "ridge" not in run:
        run["ridge"] = {f"{penalty:g}": ridge(rollouts, embedding, penalty) for penalty in (1e2, 1e3, 1e4, 1e5)}
    if "moments" not in run or any(CHANGES[name].get("returns_per_token") for name in missing):
        sampled = run.setdefault("sampled", [])
        for index in range(len(sampled), len(rollouts)):
            returns = sample_returns(agent, rollouts[index], REWARD, seed=(seed, index))
            sampled.append({name: getattr(returns, name).tolist() for name in FIELDS})
            write()
        tensors = ([torch.from_numpy(np.array(stored[name])) for name in FIELDS] for stored in sampled)
        rollouts = [
            replace(rollout, sampled=SampledReturns(*arrays)) for rollout, arrays in zip(rollouts, tensors, strict=True)
        ]
    rollouts_by_own_layers = dict[int, list[Rollout]]()  # by number of own layers
    for name in missing:
        setting = DEFAULT | CHANGES[name]
        if (own_layers := setting["own_layers"]) not in rollouts_by_own_layers:
            layers = agent.model.layers - own_layers
            rollouts_by_own_layers[own_layers] = (
                with_lower_states(rollouts, agent.model, layers) if own_layers else rollouts
            )
        scores[name] = fit(rollouts_by_own_layers[own_layers], embedding, seed, model=agent.model, **setting)
        write()
    if sampled := run.pop("sampled", None):  # the moments are smaller, and the same returns can be sampled again
        moments = np.concatenate([moments_of(np.array(stored["returns"], dtype=np.float64)) for stored in sampled])
        run["moments"] = [[rounded(value, 5) for value in row] for row in moments.tolist()]
    write()


if __name__ == "__main__":
    program.run(main)
