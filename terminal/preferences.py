"""The commands `make-pairs` and `train-reward`: preferences, and a reward model that is trained on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from terminal import arguments as arg
from terminal import console

if TYPE_CHECKING:
    from agents.training.reward_training import Accuracy

PAIRS_FILE = "JSONL file with the texts prompt, chosen and rejected in each line."


def make_pairs(
    game: Annotated[str, Option(metavar="COMPLETION", help="Completion games, as in completion?max_tokens=16.")],
    judge: Annotated[
        str, Option(metavar="REWARD", help="Reward that says which completion is better, such as sentiment.")
    ],
    out: Annotated[Path, Option(metavar="FILE", help=PAIRS_FILE)],
    pairs: Annotated[int, Option(min=1, max=arg.MOST, help="Pairs to sample, without ties.")] = 500,
    agent: Annotated[str, Option(metavar="AGENT", help="smollm2, or the folder of a run with mode free.")] = "smollm2",
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    seed: arg.Seed = 0,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Sample pairs of completions, and let a judge say which is better."""
    import agents
    from agents.text.preferences import UnfinishedPreferences, write_preferences
    from agents.training.preference_sampling import sample_preferences
    from games.untrusted_files import is_present

    if out.is_dir():
        raise agents.AgentError(f"{out} is a folder; expected the name of a file, such as pairs.jsonl")
    settings = {"agent": agent, "game": game, "judge": judge, "temperature": temperature, "top_p": top_p, "seed": seed}
    with console.resumable(out.parent, out.name):
        unfinished = UnfinishedPreferences(out, settings)
        if is_present(out) and not unfinished.batches:
            raise agents.AgentError(f"{out} already exists; choose another --out")
        with console.waiting(f"loading {agent}"):
            writer = agents.make_agent(agent, seed=seed, temperature=temperature, top_p=top_p, notify=console.note)
        with console.progress("pairs", pairs) as advance:
            sampled = sample_preferences(
                *(writer, game, judge),
                pairs=pairs,
                seed=seed,
                on_preference=advance,
                earlier=unfinished.batches,
                on_batch=unfinished.add,
            )
        write_preferences(out, sampled.preferences)
        unfinished.remove()
    train = console.command_line("train-reward", "--pairs", str(out), "--out", "RM")
    console.output(
        {"out": str(out), **settings, "pairs": pairs, "ties": sampled.ties},
        [f"{pairs} pairs in {out}, ties dropped: {sampled.ties}; train a reward model on them: {train}"],
        as_json=as_json,
    )


def train_reward(
    pairs: Annotated[Path, Option(metavar="FILE", help=PAIRS_FILE)],
    out: Annotated[Path, Option(metavar="RM", help="Folder of the reward model.")],
    trunk: Annotated[
        str, Option(metavar="TRUNK", help="smollm2, or the folder of a decoder of the transformers library.")
    ] = "smollm2",
    lora: Annotated[int, Option(min=0, max=4096, help="Rank of the LoRA adapter. 0 trains the whole trunk.")] = 16,
    epochs: Annotated[int, Option(min=1, max=arg.MOST, help="Passes over the pairs.")] = 2,
    lr: Annotated[float, Option(min=0, help="Learning rate of the trunk.")] = 3e-4,
    held_out: Annotated[
        float, Option(min=0, max=0.9, metavar="SHARE", help="Share of the prompts whose pairs are held out.")
    ] = 0.2,
    seed: arg.Seed = 0,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Train a reward model on pairs of completions. The reward rm:FOLDER then scores with it."""
    from agents.config import ModelConfig
    from agents.text.preferences import read_preferences
    from agents.training.presets import of_trunk
    from agents.training.reward_checkpoint import RewardCheckpoint
    from agents.training.reward_model import check_folder, save_reward_model
    from agents.training.reward_training import train_reward_model
    from games.files import sha256

    config = ModelConfig(trunk=trunk, lora=lora, q_heads=0, dtype=of_trunk(trunk).get("dtype", "float32"))
    settings: dict[str, Any] = {"epochs": epochs, "lr": lr, "held_out": held_out, "seed": seed}
    with console.resumable(out.parent, out.name), console.reporting("train-reward") as report:
        preferences = read_preferences(pairs)
        checkpoint = RewardCheckpoint(out, config, settings | {"pairs": sha256(pairs), "model": config.model_dump()})
        check_folder(out, unfinished=checkpoint.is_present())
        trained = train_reward_model(preferences, config, **settings, progress=report, checkpoint=checkpoint)
        about = {"pairs": len(preferences), "training": settings, **trained.to_json()}
        save_reward_model(out, trained.reward_model, config, about)
        checkpoint.remove()
    lines = [f"accuracy on the pairs of the training: {_accuracy(trained.trained)}"]
    if trained.held_out is not None:
        lines.append(f"accuracy on the held-out pairs: {_accuracy(trained.held_out)}")
    train = console.command_line("train", "--game", f"completion?reward=rm:{out}", "--out", "RUN")
    lines.append(f"the reward model is in {out}; train an agent on it: {train}")
    console.output({"out": str(out), "model": config.model_dump(), **about}, lines, as_json=as_json)


def _accuracy(accuracy: "Accuracy") -> str:
    low, high = f"{accuracy.low:z.1%}".rstrip("%"), f"{accuracy.high:z.1%}"
    return f"{accuracy.value:z.1%} of {accuracy.pairs} (95% interval: {low} to {high})"
