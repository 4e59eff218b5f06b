"""Time the gradient steps of four implementations of ACTDE on the prisoner's dilemma.

    python -m benchmarks.dilemma --public CHECKOUT [--out FILE]

The experiment is that of the post by Turner and Einhorn (2023). The implementations are a batch of trials, `train`, a
plain loop (peers/plain_dilemma.py), and the public code behind the post's figures
(https://github.com/MichaelEinhorn/prisonerUnitTest) in the folder CHECKOUT. The public code was written for a GPU. It
runs unchanged, except that `cuda` is mapped to the CPU. The plain loop caches keys and values in its rollout, whereas
the public code does not.

All implementations run alternately in this process on one thread. A round is a rollout of 64 x 100 games (pairs of
consecutive actions) and its four gradient steps. The first round of each implementation includes compilation and is not
measured. A trial is one model with its own seed. The time of a batch is divided by its number of trials.
"""

import contextlib
import importlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import harness

STEPS, TRIALS = 4, 5


def batch(*, compiled: bool) -> Callable[[], object]:
    """Return a function that runs one round of `TRIALS` trials at once, with the post's settings."""
    from experiments.reproduce.ipd_trials.trial import Recipe, Trials

    return Trials(Recipe(), [np.random.SeedSequence(trial) for trial in range(TRIALS)], compiled=compiled).step


def generic(folder: Path) -> Callable[[], object]:
    """Return a function that runs one round of `train`, with the post's settings."""
    from agents.training import presets
    from agents.training.factory import make_trainer

    config = presets.resolve(
        {"game": "ipd", "trunk": "pico", "optimizer": "actde", "seed": 0, "iterations": 1000, "save_every": 1000}
    )
    return partial(next, make_trainer(config, folder / "run").run())


def plain() -> Callable[[], object]:
    """Return a function that runs one round of a plain PyTorch loop, with the sizes and losses of our trainer."""
    from benchmarks.peers.plain_dilemma import Loop

    return Loop().step


def public(checkout: Path, folder: Path) -> Callable[[], object]:
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


def _cuda_as_cpu() -> Any:
    import torch

    move: Any = torch.Tensor.to

    def to(tensor: Any, *args: Any, **options: Any) -> Any:
        return move(tensor, *("cpu" if arg == "cuda" else arg for arg in args), **options)

    return patch.object(torch.Tensor, "to", to)


def timed(name: str, play_round: Callable[[], object]) -> float:
    """Run a round of an implementation. Return the CPU seconds per trial."""
    began = time.process_time()
    play_round()
    return (time.process_time() - began) / (TRIALS if name.startswith("batch") else 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        __doc__, timed=False, public=(Path, "checkout of the public code"), turns=(5, "measured rounds of each")
    )
    options = parser.parse_args(arguments)
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
        times = harness.alternate({name: partial(timed, name, peer) for name, peer in peers.items()}, options.turns)
    base = statistics.median(times["batch"])
    print(f"{'':20} {'s per rollout':>14} {'spread':>16} {'ratio':>7} {'10,000 steps':>13}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        hours = middle * 10_000 / STEPS / 3600
        print(f"{name:20} {middle:14.3f} {spread:>16} {middle / base:7.1f} {hours:11.2f} h")
    harness.report("dilemma", options, arguments, seconds_per_rollout=times)


if __name__ == "__main__":
    main()
