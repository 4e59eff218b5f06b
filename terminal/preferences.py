"""The commands `make-pairs` and `train-reward`: preferences, and a reward model that is trained on them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from terminal import arguments as arg
from terminal import console

if TYPE_CHECKING:
    from agents.training.reward_model import Accuracy


def make_pairs(
    game: arg.CompletionGame,
    judge: arg.Judge,
    out: arg.PairsOut,
    pairs: arg.Pairs = 500,
    agent: arg.Writer = "smollm2",
    temperature: arg.Temperature = 1.0,
    seed: arg.Seed = 0,
    as_json: arg.AsJson = False,
) -> None:
    """Sample pairs of completions, and let a judge say which is better."""
    import agents
    from agents.text.preferences import write_preferences
    from agents.training.preference_sampling import sample_preferences

    if out.is_dir():
        raise agents.AgentError(f"{out} is a folder; expected the name of a file, such as pairs.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with console.waiting(f"loading {agent}"):
        writer = agents.make_agent(agent, seed=seed, temperature=temperature, notify=console.note)
    with console.progress("pairs", pairs) as advance:
        sampled = sample_preferences(writer, game, judge, pairs=pairs, seed=seed, on_preference=advance)
    write_preferences(out, sampled.preferences)
    if as_json:
        seconds = round(time.monotonic() - begin, 1)
        settings = {"agent": agent, "game": game, "judge": judge, "temperature": temperature, "seed": seed}
        console.document({"out": str(out), **settings, "pairs": pairs, "ties": sampled.ties, "seconds": seconds})
    else:
        hint = f"train a reward model on them: train-reward --pairs {out} --out RM"
        console.show([f"{pairs} pairs in {out}, {sampled.ties} ties dropped; {hint}"])


def train_reward(
    pairs: arg.PairsFile,
    out: arg.RewardFolder,
    trunk: arg.Trunk = "smollm2",
    lora: arg.Lora = 16,
    epochs: arg.Epochs = 4,
    lr: arg.Rate = 3e-4,
    held_out: arg.HeldOutShare = 0.2,
    seed: arg.RunSeed = 0,
    as_json: arg.AsJson = False,
) -> None:
    """Train a reward model on pairs of completions. The reward rm:FOLDER then scores with it."""
    from agents.config import ModelConfig
    from agents.text.preferences import read_preferences
    from agents.training.presets import TRUNKS
    from agents.training.reward_model import check_folder, save_reward_model, train_reward_model

    begin = time.monotonic()
    check_folder(out)
    preferences = read_preferences(pairs)
    config = ModelConfig(trunk=trunk, lora=lora, q_heads=0, dtype=TRUNKS.get(trunk, {}).get("dtype", "float32"))
    settings = {"epochs": epochs, "lr": lr, "held_out": held_out, "seed": seed}
    with console.reporting("train-reward") as report:
        trained = train_reward_model(preferences, config, progress=report, **settings)
    save_reward_model(out, trained, config, {"pairs": len(preferences), "training": settings})
    if as_json:
        seconds = round(time.monotonic() - begin, 1)
        about = {"out": str(out), "pairs": len(preferences), "model": config.model_dump(), "training": settings}
        console.document({**about, **trained.to_json(), "seconds": seconds})
        return
    lines = [f"accuracy on the pairs that were trained on: {_accuracy(trained.trained)}"]
    if trained.held_out is not None:
        lines.append(f"accuracy on held-out pairs:                 {_accuracy(trained.held_out)}")
    console.show([*lines, f"the reward model is in {out}; train an agent on it: --game 'completion?reward=rm:{out}'"])


def _accuracy(accuracy: Accuracy) -> str:
    low, high = f"{accuracy.low:.1%}".rstrip("%"), f"{accuracy.high:.1%}"
    return f"{accuracy.value:.1%} of {accuracy.pairs} (95% interval: {low} to {high})"
