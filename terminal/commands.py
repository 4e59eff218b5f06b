"""The commands `reproduce`, `serve`, `export`, `make-pairs` and `train-reward`."""

import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich import box
from rich.table import Column, Table
from typer import Argument, Option

import agents
from agents.registry import trained_folder
from experiments import reproduce as parts
from terminal import arguments as arg
from terminal import completion, console

if TYPE_CHECKING:
    from agents.training.reward_training import Accuracy

SHUTDOWN_SECONDS = 5  # seconds that a stopped server waits for its sessions
PAIRS_FILE = "JSONL file with the texts prompt, chosen and rejected in each line."


def reproduce(
    part: Annotated[str, Argument(metavar="PART", help=f"{', '.join(parts.PARTS)} or all.")],
    folder: Annotated[
        Path, Option("--out", metavar="OUT", file_okay=False, help="Folder of the report. Other parts in it are kept.")
    ],
    quick: Annotated[bool, Option("--quick", help="Run a small version of less than two minutes.")] = False,
    seed: arg.Seed = 0,
    workers: Annotated[
        int | None,
        Option(min=0, help="Processes of ipd and sensitivity. 0 reports their earlier runs.", show_default="1"),
    ] = None,
    cluster: arg.Cluster = None,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Reproduce the numbers, figures and claims of the post by Turner and Einhorn (2023), each with a verdict."""
    from experiments.reproduce import report

    processes = workers if cluster or workers is not None else 1
    part_names = parts.part_names(part)
    with console.resumable(folder):
        report.check(folder, part_names, quick=quick)
        for name in part_names:
            begin = time.monotonic()
            with console.reporting(name) as progress:
                run = parts.load(name)
                outcome = run(
                    seed=seed, quick=quick, folder=folder, workers=processes, cluster=cluster, progress=progress
                )
            seconds = round(time.monotonic() - begin if outcome.seconds is None else outcome.seconds, 1)
            versions = report.versions()
            info = report.RunInfo(
                command=console.typed_command_line(), seed=seed, quick=quick, seconds=seconds, versions=versions
            )
            findings = report.write(folder, name, info, outcome)
    counts = report.counts(findings)
    console.output(
        {"out": str(folder), "verdicts": counts, "findings": [asdict(finding) for finding in findings]},
        [verdict_table(counts), f"the report is in {folder / report.README}"],
        as_json=as_json,
    )


def verdict_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    verdicts = list(next(iter(counts.values())))
    part_columns = (Column(part, justify="right", min_width=max(map(len, part.split()))) for part in counts)
    verdict_column = Column("verdict", min_width=max(len(word) for verdict in verdicts for word in verdict.split()))
    table = Table(verdict_column, *part_columns, box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    for verdict in verdicts:
        table.add_row(verdict, *(str(part_counts[verdict]) for part_counts in counts.values()))
    return table


def serve(
    game: arg.Game = None,
    code: arg.Imports = None,
    host: Annotated[str, Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on. 0: any free port.")] = 8000,
    sessions: Annotated[int, Option(min=1, help="Maximum number of concurrent sessions.")] = 64,
    max_turns: arg.MaxTurns = None,
) -> None:
    """Serve a game to OpenEnv clients. Each client has its own session. Ctrl-C stops the server."""
    import games

    game = game or agents.DEFAULT_GAME
    with _listener(host, port) as listener:
        try:
            import uvicorn

            from games.serving.openenv import make_app
        except ModuleNotFoundError as error:
            raise games.GameError(f"serve needs the package {error.name}: pip install -e '.[serve]'") from error
        app = make_app(game, sessions=sessions, max_turns=max_turns)
        # uvicorn raises these signals again after it has closed the sessions
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, lambda *_: sys.exit())
        url_host = f"[{host}]" if ":" in host else host
        console.note(f"serving {game} on http://{url_host}:{listener.getsockname()[1]}; stop with Ctrl-C")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    import games

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python repeats the address in brackets
        hint = "choose another --host or --port"
        raise games.GameError(f"cannot listen on {host}, port {port}: {reason}; {hint}") from error


def export(
    run: Annotated[
        str,
        Argument(
            metavar="RUN",
            help="Folder of a run or checkpoint, or a shipped agent: actde, ppo, actde-small or ppo-small.",
            autocompletion=completion.shipped_agents,
        ),
    ],
    to: Annotated[Path, Option("--to", metavar="FOLDER", help="New folder of the model.")],
    adapter: Annotated[
        bool, Option("--adapter", help="Write the LoRA adapter in the format of peft, instead of merging it.")
    ] = False,
    as_json: arg.AsJson = False,
) -> None:
    """Write a trained agent as a plain transformers model. Its value and Q heads are in separate files."""
    folder = trained_folder(run)
    from agents.storage.export import export_agent  # imports torch

    with console.waiting(f"exporting {run}"):
        metadata = export_agent(folder, to, adapter=adapter)
    hint = f"transformers loads it: AutoModelForCausalLM.from_pretrained({str(to)!r}); its README.md shows how"
    console.output(metadata, [f"the model of {run} is in {to}; {hint}"], as_json=as_json)


def make_pairs(
    game: Annotated[str, Option(metavar="COMPLETION", help="Completion games, as in completion?max_tokens=16.")],
    judge: Annotated[
        str, Option(metavar="REWARD", help="Reward that says which completion is better, such as sentiment.")
    ],
    out: Annotated[Path, Option(metavar="FILE", help=PAIRS_FILE)],
    pairs: Annotated[int, Option(min=1, max=arg.MAX, help="Pairs to sample, without ties.")] = 500,
    agent: Annotated[
        str, Option(metavar="AGENT", help="Agent that writes the texts: smollm2, or the folder of a run.")
    ] = "smollm2",
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    seed: arg.Seed = 0,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Sample pairs of completions, and let a judge say which is better."""
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
    train_command = console.command_line("train-reward", "--pairs", str(out), "--out", "RM")
    console.output(
        {"out": str(out), **settings, "pairs": pairs, "ties": sampled.ties},
        [f"{pairs} pairs in {out}, ties dropped: {sampled.ties}; train a reward model on them: {train_command}"],
        as_json=as_json,
    )


def train_reward(
    pairs: Annotated[Path, Option(metavar="FILE", help=PAIRS_FILE)],
    out: Annotated[Path, Option(metavar="RM", help="Folder of the reward model.")],
    trunk: Annotated[
        str, Option(metavar="TRUNK", help="smollm2, or the folder of a decoder of the transformers library.")
    ] = "smollm2",
    lora: Annotated[int, Option(min=0, max=4096, help="Rank of the LoRA adapter. 0 trains the whole trunk.")] = 16,
    epochs: Annotated[int, Option(min=1, max=arg.MAX, help="Passes over the pairs.")] = 2,
    lr: Annotated[float, Option(min=0, help="Learning rate of the trunk.")] = 3e-4,
    held_out: Annotated[
        float, Option(min=0, max=0.9, metavar="SHARE", help="Share of the prompts whose pairs are held out.")
    ] = 0.2,
    seed: arg.Seed = 0,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
) -> None:
    """Train a reward model on pairs of completions. Games can use it as the reward rm:FOLDER."""
    from agents.config import ModelConfig
    from agents.text.preferences import read_preferences
    from agents.training.presets import trunk_preset
    from agents.training.reward_model import check_folder, save_reward_model
    from agents.training.reward_training import RewardCheckpoint, train_reward_model
    from games.files import sha256

    config = ModelConfig(trunk=trunk, lora=lora, q_heads=0, dtype=trunk_preset(trunk).get("dtype", "float32"))
    settings: dict[str, Any] = {"epochs": epochs, "lr": lr, "held_out": held_out, "seed": seed}
    with console.resumable(out.parent, out.name), console.reporting("train-reward") as report:
        preferences = read_preferences(pairs)
        checkpoint = RewardCheckpoint(out, config, settings | {"pairs": sha256(pairs), "model": config.model_dump()})
        check_folder(out, allow_unfinished=checkpoint.is_present())
        trained = train_reward_model(preferences, config, **settings, progress=report, checkpoint=checkpoint)
        metadata = {"pairs": len(preferences), "training": settings, **trained.to_json()}
        save_reward_model(out, trained.reward_model, config, metadata)
        checkpoint.remove()
    lines = [f"accuracy on the pairs of the training: {_accuracy(trained.trained)}"]
    if trained.held_out is not None:
        lines.append(f"accuracy on the held-out pairs: {_accuracy(trained.held_out)}")
    train_command = console.command_line("train", "--game", f"completion?reward=rm:{out}", "--out", "RUN")
    lines.append(f"the reward model is in {out}; train an agent on it: {train_command}")
    console.output({"out": str(out), "model": config.model_dump(), **metadata}, lines, as_json=as_json)


def _accuracy(accuracy: "Accuracy") -> str:
    low, high = f"{accuracy.low:z.1%}".rstrip("%"), f"{accuracy.high:z.1%}"
    return f"{accuracy.value:z.1%} of {accuracy.pairs} (95% interval: {low} to {high})"
