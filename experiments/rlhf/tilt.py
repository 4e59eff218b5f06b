"""Measure how far log pi - log pi_0 is from q / tau within the states of texts, at every token of the vocabulary.

    python -m experiments.rlhf.tilt RUN...

The theory of ACTDE predicts log pi - log pi_0 = q / tau + c(s) (see `actde/tabular.py`). In each state that the trained
policy visits, both sides are centred, and log pi - log pi_0 is regressed on q. Tokens are weighted by pi (tokens that
are sampled), by pi_0, or equally among the 100 likeliest tokens under pi_0 (mostly tokens that are not sampled).
"""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent
from agents.storage.run_folder import INITIAL, read_config
from agents.training.probe import PromptSpec
from agents.training.rollout_batch import RolloutBatch
from games import resolve
from games.completion.prompts import load_prompts

LIKELIEST = 100
"""Number of tokens per state that the equal weights cover."""


@torch.no_grad()
def tilt(folder: Path, prompts: str = "heldout", seed: int = 0) -> dict[str, Any]:
    """Return the slope (1 / tau) and the squared correlation of each weighting, pooled over states.

    Raises:
        AgentError: the folder holds no run. The run must have trained q.
    """
    trained, initial = load_agent(folder, seed=seed), load_agent(folder / INITIAL, seed=seed)
    trained.record = True
    spec = resolve(read_config(folder).run.game)[0]
    specs = [PromptSpec(spec, prompt) for prompt in load_prompts(prompts)]
    with EpisodeRunner(specs, seed=seed, parallel=len(specs)) as runner:
        list(runner.play(trained, len(specs)))
    rollout = RolloutBatch(trained.take_segments(), credit="token")
    sums: dict[str, Tensor] = {}
    for row in range(len(rollout)):
        part = rollout.micro_batch([row])
        ours, theirs = (
            agent.model.hidden_states(part.tokens, use_cache=False)[0, part.choices.positions]
            for agent in (trained, initial)
        )
        logprobs, first = trained.model.all_logprobs(ours), initial.model.all_logprobs(theirs)
        weight = trained.model.base.get_output_embeddings().weight
        q = trained.model.heads.q_values(ours, torch.arange(len(weight)), weight).amin(-1)
        equal = torch.zeros_like(first).scatter_(1, first.topk(LIKELIEST).indices, 1 / LIKELIEST)
        for name, w in (("sampled", logprobs.exp()), ("initial", first.exp()), ("likeliest", equal)):
            x, y = ((z - (w * z).sum(-1, keepdim=True)).double() for z in (q, logprobs - first))
            moments = torch.stack([(w * a).sum() for a in (x * x, x * y, y * y)])
            sums[name] = sums.get(name, torch.zeros(3, dtype=torch.float64)) + moments
    choices = int(rollout.offsets[-1])
    return {
        name: {
            "slope": float(xy / xx),
            "r2": float(xy**2 / (xx * yy)),
            "spread_q": float((xx / choices).sqrt()),
            "spread_log_ratio": float((yy / choices).sqrt()),
        }
        for name, (xx, xy, yy) in sums.items()
    }


def main(folders: Annotated[list[Path], typer.Argument(metavar="RUN...")]) -> None:
    """Print the measures of each run as one line of JSON."""
    for folder in folders:
        typer.echo(json.dumps({"run": folder.name, **tilt(folder)}))


if __name__ == "__main__":
    typer.run(main)
