"""Is log pi - log pi_0 equal to q / tau within the states of texts, and is q equal to Q^pi?

    common="--game completion?reward=sentiment --iterations 40 --dtype bfloat16 --seed 1000"
    python cli.py train --optimizer actde --advantage return $common --out runs/tilt/actde
    python cli.py train --optimizer ppo --train-q $common --out runs/tilt/ppo
    python -m experiments.rlhf.tilt --out docs/rlhf runs/tilt/actde runs/tilt/ppo

The theory of ACTDE predicts log pi - log pi_0 = q / tau + c(s) (see `actde/tabular.py`). In each state that the trained
policy visits, both sides are centred, and log pi - log pi_0 is regressed on q. Tokens are weighted by pi (tokens that
are sampled), by pi_0, or equally among the 100 likeliest tokens under pi_0 (mostly tokens that are not sampled).
In some states, Monte Carlo estimates of Q^pi are compared with q (see `experiments.rlhf.monte_carlo`).
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from typing_extensions import TypedDict

import experiments.rlhf.controls  # noqa: F401  # registers its optimizers
from actde import make_optimizer
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.storage.checkpoint import INITIAL, load_agent
from agents.storage.run_folder import read_config
from agents.training.probe import PromptSpec
from agents.training.rollout_batch import RolloutBatch
from experiments import program
from experiments.rlhf.monte_carlo import MEASURES, SAMPLES, TOKENS, q_estimates, summary
from experiments.tables import interval, table
from games import resolve_stored
from games.completion.prompts import load_prompts
from games.files import atomic_write, exclusive
from games.untrusted_files import is_present, read_json


class StoredTilt(TypedDict):
    """The field that identifies a row of `tilt.json`."""

    run: str


LIKELIEST = 100
"""Number of tokens per state that the equal weights cover."""
STATES = 16
"""Number of texts that contribute a state to the Monte Carlo estimates."""
WEIGHTINGS = ("sampled", "initial", "likeliest")


@dataclass(frozen=True, slots=True)
class Visited:
    """The texts with which a trained agent continued fixed prompts.

    Attributes:
        segments: the recorded text of each of the `prompts`.
        reward: name of the reward.
        max_tokens: largest number of tokens in a text.
    """

    trained: LanguageModelAgent
    initial: LanguageModelAgent
    prompts: list[str]
    segments: list[Segment]
    reward: str
    max_tokens: int


def visit(folder: Path, prompts: str, seed: int = 0) -> Visited:
    """Let the agent of a run continue a set of prompts.

    Raises:
        AgentError: the folder holds no run, the run trains no q, or q guides its agent, so that its policy differs from
            the network's.
    """
    config = read_config(folder)
    if config.rollout.guide_beta:
        raise AgentError(f"{folder}: expected a run without --guide-beta, got {config.rollout.guide_beta:g}")
    if not make_optimizer(config.run.optimizer, config.optimizer).trains_q:
        raise AgentError(f"{folder}: expected a run that trains q; PPO and GRPO do so with --train-q")
    trained, initial = load_agent(folder, seed=seed), load_agent(folder / INITIAL, seed=seed, guide_beta=0.0)
    trained.record = True
    spec = resolve_stored(config.run.game, str(folder))[0]
    texts = load_prompts(prompts)
    with EpisodeRunner([PromptSpec(spec, prompt) for prompt in texts], seed=seed, parallel=len(texts)) as runner:
        list(runner.play(trained, len(texts)))
    with closing(spec.make()) as game:
        limits = game.reset(seed=seed)[1]
    return Visited(
        trained=trained,
        initial=initial,
        prompts=list(texts),
        segments=sorted(trained.take_segments(), key=lambda segment: segment.episode),
        reward=str(dict(spec.settings).get("reward", "sentiment")),
        max_tokens=int(limits["max_tokens"]),
    )


@torch.no_grad()
def tilt(visited: Visited) -> dict[str, Any]:
    """Return four measures for each weighting, pooled over states.

    They are the slope (1 / tau), the squared correlation, and the standard deviations of q and of log pi - log pi_0.
    """
    trained, initial = visited.trained, visited.initial
    rollout = RolloutBatch(visited.segments, credit="token")
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


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of `tilt.md`."""
    heads = ["run", *(f"{name}: R2 (slope)" for name in WEIGHTINGS)]
    lines = [[row["run"], *(f"{row[n]['r2']:.3f} ({row[n]['slope']:.2f})" for n in WEIGHTINGS)] for row in rows]
    estimates = [
        [row["run"], row["monte_carlo"]["states"], *(interval(row["monte_carlo"][n]) for n in MEASURES)] for row in rows
    ]
    return "\n".join(
        [
            "# Is log pi - log pi_0 equal to q / tau, and is q equal to Q^pi?",
            "",
            "Within the states of one text for each held-out prompt, after the last rollout. One run per row, so"
            " differences between rows are no verdict. SmolLM2 on `completion?reward=sentiment`, 40 rollouts, seed"
            " 1000, credit per token. `ppo` trains q for this measurement only. Commands: see"
            " `experiments/rlhf/tilt.py`.",
            "",
            "Regression of log pi - log pi_0 on q, with tokens weighted by pi, by pi_0, or equally among the"
            f" {LIKELIEST} likeliest under pi_0:",
            "",
            table(heads, lines),
            "",
            f"Monte Carlo estimates of Q^pi for up to {TOKENS} likely tokens of each state, from {SAMPLES} texts each,"
            " with 95% bootstrap intervals over states:",
            "",
            table(
                ["run", "states", "spread of Q^pi", "correlation with q", "correlation with log pi - log pi_0"],
                estimates,
            ),
            "",
        ]
    )


def main(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...")],
    out: Annotated[Path, typer.Option(help="folder of tilt.json and tilt.md")],
) -> None:
    """Measure runs. Rows of the same name are replaced, other rows of `tilt.json` are kept."""
    path = out / "tilt.json"
    with exclusive(out, path.name, "tilt.md"):
        stored = read_json(path, list[StoredTilt], error=AgentError) if is_present(path) else []
        rows = {row["run"]: row for row in stored}
        for folder in folders:
            rows[folder.name] = {"run": folder.name, **measure(folder)}
            atomic_write(path, json.dumps(list(rows.values()), allow_nan=False) + "\n")
            atomic_write(out / "tilt.md", markdown(list(rows.values())))


def measure(folder: Path, prompts: str = "heldout", seed: int = 0) -> dict[str, Any]:
    """Return a run's results of `tilt`, and the Monte Carlo measures as `monte_carlo`."""
    visited = visit(folder, prompts, seed)
    states = q_estimates(
        visited.trained,
        visited.initial,
        visited.segments[:STATES],
        visited.prompts[:STATES],
        visited.reward,
        max_tokens=visited.max_tokens,
        seed=seed,
    )
    return {**tilt(visited), "monte_carlo": {"states": len(states), **summary(states)}}


if __name__ == "__main__":
    program.run(main)
