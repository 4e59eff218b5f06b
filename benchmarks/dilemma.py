"""Time the gradient steps of four implementations of ACTDE on the prisoner's dilemma.

    python -m benchmarks.dilemma --public CHECKOUT [--out FILE]

The experiment is that of the post by Turner and Einhorn (2023). The implementations are a batch of trials, `train`, a
plain loop (peers/plain_dilemma.py), and the public code behind the post's figures
(https://github.com/MichaelEinhorn/prisonerUnitTest). CHECKOUT is a folder with the public code. Without CHECKOUT the
public code is skipped.

The public code was written for a GPU. It runs here unchanged, except that `cuda` is mapped to the CPU. In its rollout,
the plain loop caches keys and values, whereas the public code does not.

All implementations run alternately in this process on one thread. A round is a rollout and its four gradient steps. The
rollout has 64 x 100 games, which are pairs of consecutive actions. The first round of each implementation includes
compilation and is not measured. A trial is one model with its own seed, and a batch runs several trials at once. The
time of a batch is divided by its number of trials.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import processor

STEPS, TRIALS = 4, 5


def batch(*, compiled: bool) -> Callable[[], None]:
    """Return a function that runs one round of `TRIALS` trials at once, with the post's settings."""
    from experiments.reproduce.ipd_trials.trial import Recipe, Trials

    trials = Trials(Recipe(), [np.random.SeedSequence(trial) for trial in range(TRIALS)], compiled=compiled)

    def play_round() -> None:
        trials.step()

    return play_round


def generic(folder: Path) -> Callable[[], None]:
    """Return a function that runs one round of `train`, with the post's settings."""
    from agents.training import presets
    from agents.training.factory import make_trainer

    config = presets.resolve(
        {"game": "ipd", "trunk": "pico", "optimizer": "actde", "seed": 0, "iterations": 1000, "save_every": 1000}
    )
    run = make_trainer(config, folder / "run").run()

    def play_round() -> None:
        next(run)

    return play_round


def plain() -> Callable[[], None]:
    """Return a function that runs one round of a plain PyTorch loop, with the sizes and losses of our trainer."""
    from benchmarks.peers.plain_dilemma import Loop

    return Loop().step


def public(checkout: Path, folder: Path) -> Callable[[], None]:
    """Return a function that runs one round of the public code's trainer, with the settings of its notebook."""
    sys.path.insert(0, str(checkout))
    model_code = importlib.import_module("mingpt.model")
    trainer_code = importlib.import_module("mingpt.prisonerTrainer")
    GPT, PrisonerTrainer = model_code.GPT, trainer_code.PrisonerTrainer  # noqa: N806
    config = GPT.get_default_config()
    config.model_type, config.vocab_size, config.block_size = "gpt-pico", 2, 128
    config.alg_name, config.detach_head = "actde", False
    training = PrisonerTrainer.get_default_config()
    training.learning_rate, training.max_iters, training.gamma = 5e-4, STEPS, 0.5
    training.alg_name, training.whiten, training.vf_loss_type, training.device = "actde", False, "ppo", "cpu"
    with contextlib.redirect_stdout(io.StringIO()):
        model = GPT(config)
    (folder / "stats").mkdir()

    def play_round() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(folder), _cuda_as_cpu():
            PrisonerTrainer(training, model).run()

    return play_round


@contextlib.contextmanager
def _cuda_as_cpu() -> Iterator[None]:
    import torch

    move: Any = torch.Tensor.to

    def to(tensor: Any, *args: Any, **options: Any) -> Any:
        return move(tensor, *("cpu" if arg == "cuda" else arg for arg in args), **options)

    torch.Tensor.to = to  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.Tensor.to = move  # type: ignore[method-assign]


def measure(peers: dict[str, Callable[[], None]], turns: int) -> dict[str, list[float]]:
    """Run `turns` rounds of every implementation alternately. Return the CPU seconds of each round, per trial."""
    for play_round in peers.values():
        play_round()
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(turns):
        for name, play_round in peers.items():
            began = time.process_time()
            play_round()
            seconds[name].append((time.process_time() - began) / (TRIALS if name.startswith("batch") else 1))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path, help="checkout of the public code")
    parser.add_argument("--turns", type=int, default=5, help="measured rounds of each")
    parser.add_argument("--out", type=Path, help="also write the numbers here, as JSON")
    options = parser.parse_args()
    if options.public is not None and not (options.public / "mingpt" / "prisonerTrainer.py").is_file():
        parser.error(f"{options.public} is not a checkout of the public code: mingpt/prisonerTrainer.py is missing")
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from experiments.reproduce.ipd_trials.blocks import can_compile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peers = {"batch": batch(compiled=can_compile()), "batch, not compiled": batch(compiled=False)}
        peers |= {"generic path": generic(folder), "plain loop": plain()}
        if options.public is not None:
            peers["public code"] = public(options.public.resolve(), folder)
        times = measure(peers, options.turns)
    base = statistics.median(times["batch"])
    print(f"{'':20} {'s per rollout':>14} {'spread':>16} {'ratio':>7} {'10,000 steps':>13}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        hours = middle * 10_000 / STEPS / 3600
        print(f"{name:20} {middle:14.3f} {spread:>16} {middle / base:7.1f} {hours:11.2f} h")
    if options.out is not None:
        about = {"torch": torch.__version__, "python": platform.python_version(), "processor": processor()}
        options.out.write_text(json.dumps({"about": about, "seconds_per_rollout": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
