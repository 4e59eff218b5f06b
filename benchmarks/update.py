"""Compare our PPO with TRL's PPO trainer: time of a whole sample, time of its update, and peak memory.

    python -m venv ../trl
    ../trl/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.12.0 accelerate==1.15.0 peft==0.21.2
    python -m benchmarks.update --peer ../trl/bin/python [--trunk smollm2] [--dtype bfloat16] [--out FILE]

TRL 1.12 is the last version with a PPO trainer (`trl.experimental.ppo`). The sides run alternately, each in its own
process. They have the same model, dtype, threads, samples, epochs and rows per micro-batch, with one gradient step per
epoch. A sample has L tokens, of which the policy samples R:

    ours    the agent plays an episode: a pass over the L tokens and R choices among tokens of admissible commands;
            then epochs x (forward and backward) with value head, and lm_head only at the R choices for their tokens
    TRL     generates R tokens of the whole vocabulary after a prompt of L - R; passes of reference, value and reward
            model over the L tokens; then epochs x (forward and backward) of policy and value model

A choice is a token that the agent sampled among several. A sample of TRL has one prompt and one response. `--samples`
sets what a sample of TRL is:

    stream  a whole episode with the same number of tokens, in which the policy's tokens come last; this favours TRL,
            although no game can be played in this way
    turns   one turn, with the history as prompt and the command as response, as TRL requires for episodes

In both cases, samples/s are episodes/s. The learning rate is 0, and the games are tapes (recorded episodes). An adapter
applies only to the policy, since TRL trains the whole value model. Memory is the peak of a process after its model was
loaded, minus the memory of the libraries imported until then.

The measurement `loss` applies our update to the data of one step of TRL: its tokens, values and scores. Both sides have
a small model with the same weights, and take three epochs of AdamW with the policy loss only. Both whiten advantages
with the variance over n - 1, which is TRL's but not our divisor. `--only loss` skips the other measurements.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

from benchmarks import harness

ROOT = Path(__file__).parent.parent
Job: TypeAlias = dict[str, Any]
"""What a peer does: its first line of input, which the docstring of its module in `benchmarks.peers` describes."""


class Worker:
    """A peer that runs in its own process. Use it in a `with` block."""

    def __init__(self, python: Path, module: str, job: dict[str, Any], threads: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
        self.name = module
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # an unread pipe would fill up
        self._process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._send(json.dumps(job))
        first = self.answer()
        self.libraries: int = first["libraries"]
        self.versions: dict[str, str] = first.get("versions", {})
        self.steps: list[dict[str, Any]] = []

    def answer(self) -> dict[str, Any]:
        """Return the next line that the process prints, parsed as JSON."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._errors.seek(0)
            with self._errors as errors:
                raise RuntimeError(f"{self.name} ended early:\n{errors.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def step(self) -> float:
        """Run a step and return its seconds."""
        self._send("go")
        self.steps.append(self.answer())
        return float(self.steps[-1]["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` reports the reason
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def model_folder(trunk: str, folder: Path) -> Path:
    """Return a folder from which both sides load the same model."""
    from agents.config import SCRATCH, SMOLLM2, ModelConfig
    from agents.model.build import assemble
    from agents.model.pretrained import smollm2_folder

    if trunk == SMOLLM2:
        return smollm2_folder()
    if trunk not in SCRATCH:
        return Path(trunk).absolute()
    model, tokenizer = assemble(ModelConfig(trunk=trunk), None)
    model.lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts(rollout: dict[str, Any], samples: str) -> tuple[list[list[int]], int]:
    """Return TRL's prompts (token ids) for our rollout, and the number of tokens per response."""
    segments, choices = rollout["segments"], rollout["choices"]
    made = sum(map(len, choices))
    if samples == "stream":
        answer = round(made / len(segments))
        return [tokens[: len(tokens) - answer] for tokens in segments], answer
    firsts = [{turn: place for place, turn in reversed(each)} for each in choices]
    histories = [
        tokens[: place + 1] for tokens, first in zip(segments, firsts, strict=True) for place in sorted(first.values())
    ]
    return histories, max(1, round(made / len(histories)))


def rows_at_once(samples: int, longest: int, budget: int) -> int:
    """Return the largest divisor of `samples` for which so many rows of `longest` tokens fit into `budget` tokens."""
    fit = [rows for rows in range(1, samples + 1) if samples % rows == 0 and rows * longest <= budget]
    return max(fit, default=1)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = {
        "trunk": str(folder),
        "dtype": options.dtype,
        "lora": options.lora,
        "optimizer": "ppo",
        "context": 2048,
        "lr": 0.0,
        "value_lr": 0.0,
        "epochs": options.epochs,
        "minibatches": 1,
        "parallel": options.episodes,
        "micro_batch_tokens": options.micro_tokens,
    }
    job = {"settings": settings, "episodes": options.episodes, "turns": options.turns}

    def peer(rollout: dict[str, Any]) -> dict[str, Any]:
        queries, answer = prompts(rollout, options.samples)
        rows = rows_at_once(len(queries), max(map(len, queries)) + answer, options.micro_tokens)
        return {
            "model": str(folder),
            "dtype": options.dtype,
            "lora": options.lora,
            "queries": queries,
            "response": answer,
            "micro": rows,
            "epochs": options.epochs,
            "steps": options.warm + options.rounds,
            "rate": 0.0,
            "kl_coef": 0.05,
            "vf_coef": 0.1,
        }

    with beside_trl(options, job, "trl_ppo", peer) as (rollout, theirs, workers):
        queries, answer = theirs["queries"], theirs["response"]
        return {
            "peer": workers["trl"].versions,
            "tokens": {"ours": sum(map(len, rollout["segments"])), "trl": sum(len(q) + answer for q in queries)},
            "chosen": {"ours": sum(map(len, rollout["choices"])), "trl": answer * len(queries)},
            "rows_at_once": theirs["micro"],
            **sides(workers, options.warm),
        }


@contextlib.contextmanager
def beside_trl(
    options: argparse.Namespace, own: Job, module: str, peer: Callable[[dict[str, Any]], Job]
) -> Iterator[tuple[dict[str, Any], Job, dict[str, Worker]]]:
    """Run all rounds of our trainer and of TRL's, alternately. Yield a tuple (our rollout, TRL's job, both workers).

    Args:
        own: the job of `peers/own_trainer.py`.
        module: the module of TRL's side in `benchmarks.peers`.
        peer: a function from our rollout to the job of `module`.
    """
    with contextlib.ExitStack() as stack:

        def start(python: Path, name: str, job: Job) -> Worker:
            job = job | {"threads": options.threads}
            return stack.enter_context(Worker(python, f"benchmarks.peers.{name}", job, options.threads))

        ours = start(Path(sys.executable), "own_trainer", own)
        rollout = ours.answer()
        theirs = peer(rollout)
        workers = {"ours": ours, "trl": start(options.peer, module, theirs)}
        steps = {name: worker.step for name, worker in workers.items()}
        harness.alternate(steps, options.rounds, warm=options.warm)
        yield rollout, theirs, workers


def sides(workers: dict[str, Worker], warm: int) -> dict[str, Any]:
    """Return the seconds and the memory in bytes of each side. The first `warm` steps are left out."""
    steps = {name: worker.steps[warm:] for name, worker in workers.items()}
    return {
        "seconds": {name: [step["seconds"] for step in own] for name, own in steps.items()},
        "update": {name: [step["update"] for step in own] for name, own in steps.items()},
        "libraries": {name: worker.libraries for name, worker in workers.items()},
        "peak": {name: own[-1]["peak"] for name, own in steps.items()},
    }


def compare(measured: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Print the table. Return `found`, which is `measured`, and `ratios`: samples/s and three ratios.

    The ratios are TRL / ours for the seconds of whole samples and of updates, and ours / TRL for memory.
    """
    held = {name: measured["peak"][name] - measured["libraries"][name] for name in measured["peak"]}
    whole, update = (harness.ratios(measured[what]["trl"], measured[what]["ours"]) for what in ("seconds", "update"))
    rates = {name: episodes / harness.summary(seconds)["median"] for name, seconds in measured["seconds"].items()}
    memory = held["ours"] / held["trl"]
    print(f"{'':6} {'samples/s':>10} {'tokens':>7} {'chosen':>7} {'seconds':>20} {'update, s':>20}"
          f" {'peak, MB':>9} {'libraries':>10}")  # fmt: skip
    for name in ("ours", "trl"):
        times = [harness.shown(harness.summary(measured[what][name])) for what in ("seconds", "update")]
        print(f"{name:6} {rates[name]:10.3f} {measured['tokens'][name]:7} {measured['chosen'][name]:7} {times[0]:>20}"
              f" {times[1]:>20} {held[name] / 1e6:9.0f} {measured['libraries'][name] / 1e6:10.0f}")  # fmt: skip
    print(f"samples/s, ours / TRL: {harness.shown(whole)}; update alone: {harness.shown(update)};"
          f" memory, ours / TRL: {memory:.2f}")  # fmt: skip
    return {
        "found": measured,
        "ratios": {"samples_per_second": rates, "whole": whole, "update": update, "memory": memory},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        __doc__,
        trunk=("smollm2", "small, smollm2 or the folder of a model"),
        dtype=("bfloat16", "float32 or bfloat16"),
        lora=(0, "rank of the adapter of both policies; 0: train the whole trunk"),
        episodes=(4, "episodes per rollout"),
        turns=(10, "turns per episode"),
        epochs=(4, "epochs per update"),
        micro_tokens=(2048, "tokens per micro-batch"),
        warm=(1, "warm-up rounds, not measured"),
    )
    parser.add_argument("--samples", choices=("stream", "turns"), default="stream", help="a sample of TRL")
    parser.add_argument("--only", choices=("time", "loss"), help="run only one of the two parts")
    options = parse_peer(parser, arguments)
    data: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        if options.only != "time":
            from benchmarks.same_loss import ours, trl

            step = trl(lambda job: Worker(options.peer, "benchmarks.peers.trl_ppo", job, 1), Path(name) / "loss")
            data["loss"] = {"ours": ours(step), "step": step}
            print(f"policy loss: ours {data['loss']['ours']:.7f}, TRL {step['policy_loss']:.7f}")
        if options.only != "loss":
            measured = measure(options, model_folder(options.trunk, Path(name) / "model"))
            data |= compare(measured, options.episodes)
    harness.report("update", options, arguments, **data)


def parse_peer(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line with the additional option --peer, the Python interpreter of an installation with TRL."""
    parser.add_argument("--peer", type=Path, required=True, help="Python of an environment with TRL")
    options = parser.parse_args(arguments)
    if not options.peer.is_file():
        parser.error(
            f"{options.peer} is not a Python interpreter; {parser.prog} --help shows how to install one with TRL"
        )
    options.peer = options.peer.absolute()  # not resolved, since a virtual environment's Python is a link
    return options


if __name__ == "__main__":
    main()
