"""Measure the rewards of texts that SmolLM2 writes before training."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agents.completion_rewards import scorer
from agents.play.evaluate import estimate
from agents.play.runner import EpisodeRunner
from agents.registry import make_agent
from agents.training.probe import PromptSpec
from experiments import program
from experiments.rlhf.pages import page
from experiments.tables import interval, table
from games import resolve
from games.completion.prompts import SETS, load_prompts
from games.files import atomic_write, exclusive

REWARDS = ("sentiment", "letter", "length", "contains:sea", "contains:love", "contains:wedding")
PER_PROMPT = 2


def main(out: Annotated[Path, typer.Option(help="folder of base_rates.md")], seed: int = 0) -> None:
    """Write `base_rates.md`, a table of the rewards."""
    with exclusive(out, "base_rates.md"):
        atomic_write(out / "base_rates.md", report(seed))


def report(seed: int) -> str:
    spec = resolve("completion?reward=length")[0]
    agent, rows = make_agent("smollm2", seed=seed), []
    for name in SETS:
        specs = [PromptSpec(spec, prompt) for prompt in load_prompts(name)]
        with EpisodeRunner(specs, seed=seed, parallel=32, group_size=PER_PROMPT) as runner:
            episodes = list(runner.play(agent, PER_PROMPT * len(specs)))
        steps = [episode.steps[0] for episode in episodes]
        prompts, texts = [step.observation for step in steps], [step.decision.command for step in steps]
        for reward in REWARDS:
            scores = scorer(reward)(prompts, texts)
            means = (estimate(scores, seed=seed), estimate([score > 0 for score in scores], unit=True, seed=seed))
            cells = (interval(None if mean is None else asdict(mean), ".3f") for mean in means)
            rows.append([name, reward, len(texts), *cells])
    return page(
        "# Base rates",
        f"SmolLM2 without training continues every opening {PER_PROMPT} times with at most 16 tokens, seed {seed}."
        " Means over texts with 95% bootstrap intervals. Command:"
        " `python -m experiments.rlhf.base_rates --out docs/rlhf  # about 2 min`.",
        table(["prompts", "reward", "texts", "mean", "share above 0"], rows),
    )


if __name__ == "__main__":
    program.run(main)
