"""The protocol of the peers with TRL: a line of input starts a round, and a line of JSON reports its cost.

A round is one rollout and its update. The module does not import the rest of the project, so that an environment with
TRL can run it. It works with every version of TRL, because it uses only callbacks of the `transformers` library.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.models.llama import modeling_llama  # noqa: F401  # as in own_trainer.py

from benchmarks.memory import peak, resident

PACKAGES = ("trl", "transformers", "torch", "peft")
GRPO: dict[str, Any] = {
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "beta": 0.0,
    "lr_scheduler_type": "constant",
    "seed": 1,
    "loss_type": "dapo",  # a mean over the tokens of a gradient step, as ours
}
"""Settings of `GRPOConfig` that all peers with GRPO have. There is no KL, so there is no reference model."""


class StepTimer(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """A callback that starts each round when it receives a line of input, and reports the cost of the round.

    `per_round` is the number of the trainer's steps per round. `clock` returns the time in seconds.
    """

    def __init__(
        self, answers: Any, rounds: int, per_round: int = 1, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.answers, self.rounds, self.per_round, self.clock = answers, rounds, per_round, clock
        self.began = self.updating = 0.0

    def wait(self) -> None:
        """Wait for a line of input. Exit at the end of the input."""
        if not sys.stdin.readline():
            sys.exit()
        self.began, self.updating = self.clock(), 0.0

    def first_pass(self, *args: Any) -> None:
        """Record the start of the update, the first pass with gradients. A forward pre-hook calls this method."""
        if torch.is_grad_enabled():
            self.updating = self.updating or self.clock()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.per_round:
            return
        now = self.clock()
        send(self.answers, seconds=now - self.began, update=now - self.updating, peak=peak())
        if state.global_step < self.rounds * self.per_round:
            self.wait()


def adapter(rank: int) -> Any:
    """Return the configuration of an adapter of this rank with our settings, or None if the rank is 0."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM") if rank else None


def start() -> tuple[dict[str, Any], Any]:
    """Read the job and send the first line. Return the job, and a file for the answers.

    Standard output, to which the trainer prints, is redirected to standard error.
    """
    job = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(job["threads"])
    send(answers, libraries=resident(), versions={name: version(name) for name in PACKAGES})
    return job, answers


def send(answers: Any, **answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
