"""A sample's whole cost, and its update's alone: our PPO beside TRL's PPO trainer, with the peak memory of both.

    python -m venv ../trl
    ../trl/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.12.0 accelerate==1.15.0 peft==0.21.2
    python -m benchmarks.update --peer ../trl/bin/python [--trunk smollm2] [--dtype bfloat16] [--out FILE]

1.12 is the last TRL with a PPO trainer (`trl.experimental.ppo`). Each side runs in a process of its own, in turns, with
the same model, numbers, threads, samples, epochs, one gradient step an epoch, and rows read at once. What each does
with a sample of L tokens of which R are the policy's:

    ours    the agent plays an episode: its L tokens once through the trunk, R choices among the admissible commands'
            tokens; then epochs x (forward and backward) with value head, lm_head at the R choices and their tokens only
    TRL     generates R tokens after a prompt of L - R, of the whole vocabulary; reads the L tokens with the reference,
            the value and the reward model; then epochs x (forward and backward) of policy and value model

TRL knows one prompt and one answer. `--samples stream` takes a whole episode for one sample, with as many tokens, all
of the policy's at the end: the reading that suits TRL best, though nobody could play so. `--samples turns` takes every
turn of an episode for a sample, history for prompt and command for answer, as an episode must be given to TRL; the
samples/s are episodes/s in both. Nothing is learnt (learning rate 0), and the games are tapes. With an adapter only
the policy has one: TRL's value model is trained as a whole.

Memory is the peak of a process after its model was loaded and before it ends, less what it held with its libraries;
what a side imports later, on demand, counts as its own.

`loss` feeds one step of TRL to our update: a small model with the same weights, TRL's own tokens, and what its value
and reward model said of them; three epochs of AdamW, the policy's loss alone. In whitening TRL divides the variance by
n - 1, we by n: that factor is taken over, the rest must come out alike. TRL logs the mean of the epochs' surrogates.
`--only loss` measures nothing else.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benchmarks import harness

ROOT = Path(__file__).parent.parent


class Worker:
    """A peer in a process of its own; use it in a `with` block."""

    def __init__(self, python: Path, module: str, job: dict[str, Any], threads: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
        self.name = module
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._say(json.dumps(job))
        first = self.answer()
        self.libraries: int = first["libraries"]
        self.versions: dict[str, str] = first.get("versions", {})
        self.steps: list[dict[str, Any]] = []

    def answer(self) -> dict[str, Any]:
        """The next line that the process says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._errors.seek(0)
            with self._errors as said:
                raise RuntimeError(f"{self.name} ended early:\n{said.read()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def step(self) -> float:
        """Let it take a step: its seconds."""
        self._say("go")
        self.steps.append(self.answer())
        return float(self.steps[-1]["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` will tell why
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def model_folder(trunk: str, folder: Path) -> Path:
    """A folder that both sides load the same model from."""
    from agents.config import ModelConfig
    from agents.model.build import SCRATCH, assemble
    from agents.model.pretrained import SMOLLM2, smollm2_folder

    if trunk == SMOLLM2:
        return smollm2_folder()
    if trunk not in SCRATCH:
        return Path(trunk).absolute()
    model, tokenizer = assemble(ModelConfig(trunk=trunk), None)
    model.lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts(said: dict[str, Any], samples: str) -> tuple[list[list[int]], int]:
    """TRL's prompts (token ids) and the length of its answers, from what a rollout of ours is."""
    segments, choices = said["segments"], said["choices"]
    made = sum(map(len, choices))
    if samples == "stream":
        answer = round(made / len(segments))
        return [tokens[: len(tokens) - answer] for tokens in segments], answer
    firsts = [{turn: place for place, turn in reversed(found)} for found in choices]
    found = [
        tokens[: place + 1] for tokens, first in zip(segments, firsts, strict=True) for place in sorted(first.values())
    ]
    return found, max(1, round(made / len(found)))


def rows_at_once(samples: int, longest: int, budget: int) -> int:
    """The most rows of `longest` tokens within the budget that divide the samples evenly."""
    fit = [rows for rows in range(1, samples + 1) if samples % rows == 0 and rows * longest <= budget]
    return max(fit, default=1)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds and memory of both sides, step by step in turns."""
    own = {"trunk": str(folder), "dtype": options.dtype, "lora": options.lora, "optimizer": "ppo", "context": 2048}
    still = {"lr": 0.0, "value_lr": 0.0, "epochs": options.epochs, "minibatches": 1, "parallel": options.episodes}
    budget = {"micro_batch_tokens": options.micro_tokens}
    job = {"settings": own | still | budget, "episodes": options.episodes, "turns": options.turns}
    with ExitStack() as stack:

        def start(python: Path, module: str, job: dict[str, Any]) -> Worker:
            name = f"benchmarks.peers.{module}"
            return stack.enter_context(Worker(python, name, job | {"threads": options.threads}, options.threads))

        ours = start(Path(sys.executable), "own_ppo", job)
        said = ours.answer()
        queries, answer = prompts(said, options.samples)
        rows = rows_at_once(len(queries), max(map(len, queries)) + answer, options.micro_tokens)
        peer = {"model": str(folder), "dtype": options.dtype, "queries": queries, "response": answer, "micro": rows}
        peer |= {"epochs": options.epochs, "steps": options.warm + options.rounds, "lora": options.lora}
        trl = start(options.peer, "trl_ppo", peer | {"rate": 0.0, "kl_coef": 0.05, "vf_coef": 0.1})
        harness.in_turns({"ours": ours.step, "trl": trl.step}, options.rounds, warm=options.warm)
        sides = {"ours": ours, "trl": trl}
        return {
            "peer": trl.versions,
            "tokens": {"ours": sum(map(len, said["segments"])), "trl": sum(len(q) + answer for q in queries)},
            "chosen": {"ours": sum(map(len, said["choices"])), "trl": answer * len(queries)},
            "rows_at_once": rows,
            "seconds": {name: [step["seconds"] for step in side.steps[options.warm :]] for name, side in sides.items()},
            "update": {name: [step["update"] for step in side.steps[options.warm :]] for name, side in sides.items()},
            "libraries": {name: side.libraries for name, side in sides.items()},
            "peak": {name: side.steps[-1]["peak"] for name, side in sides.items()},
        }


def compare(found: dict[str, Any], episodes: int) -> dict[str, Any]:
    """The ratios: of samples/s, whole and in the update alone, and of memory."""
    held = {name: found["peak"][name] - found["libraries"][name] for name in found["peak"]}
    return {
        "samples_per_second": {
            name: episodes / harness.summary(seconds)["median"] for name, seconds in found["seconds"].items()
        },
        "whole": harness.ratios(found["seconds"]["trl"], found["seconds"]["ours"]),
        "update": harness.ratios(found["update"]["trl"], found["update"]["ours"]),
        "memory": held["ours"] / held["trl"],
    }


def show(found: dict[str, Any], ratio: dict[str, Any]) -> None:
    """The table."""
    print(f"{'':6} {'samples/s':>10} {'tokens':>7} {'chosen':>7} {'seconds':>20} {'update, s':>20}"
          f" {'peak, MB':>9} {'libraries':>10}")  # fmt: skip
    for name in ("ours", "trl"):
        seconds, update = (harness.shown(harness.summary(found[what][name])) for what in ("seconds", "update"))
        memory = [(found["peak"][name] - found["libraries"][name]) / 1e6, found["libraries"][name] / 1e6]
        print(f"{name:6} {ratio['samples_per_second'][name]:10.3f} {found['tokens'][name]:7} {found['chosen'][name]:7}"
              f" {seconds:>20} {update:>20} {memory[0]:9.0f} {memory[1]:10.0f}")  # fmt: skip
    print(f"samples/s, ours / TRL: {harness.shown(ratio['whole'])}; update alone: {harness.shown(ratio['update'])};"
          f" memory, ours / TRL: {ratio['memory']:.2f}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    data: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        if options.only != "time":
            from benchmarks.same_loss import ours, trl

            step = trl(lambda job: Worker(options.peer, "benchmarks.peers.trl_ppo", job, 1), Path(name) / "loss")
            data["loss"] = {"ours": ours(step), "step": step}
            print(f"policy loss: ours {data['loss']['ours']:.7f}, TRL {step['policy_loss']:.7f}")
        if options.only != "loss":
            found = measure(options, model_folder(options.trunk, Path(name) / "model"))
            data |= {"found": found, "ratios": compare(found, options.episodes)}
            show(found, data["ratios"])
    harness.write(options.out, harness.document("update", options, arguments, **data))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="the Python of an environment with TRL")
    parser.add_argument("--trunk", default="smollm2", help="small, smollm2 or the folder of a model")
    parser.add_argument("--dtype", default="bfloat16", help="float32 or bfloat16")
    parser.add_argument("--lora", type=int, default=0, help="rank of both policies' adapter; 0: train it all")
    parser.add_argument("--samples", choices=("stream", "turns"), default="stream", help="what TRL takes for a sample")
    parser.add_argument("--episodes", type=int, default=4, help="of a rollout")
    parser.add_argument("--turns", type=int, default=10, help="of an episode")
    parser.add_argument("--epochs", type=int, default=4, help="of an update")
    parser.add_argument("--micro-tokens", type=int, default=2048, help="tokens read at once in the update")
    parser.add_argument("--warm", type=int, default=1, help="rounds before that are not counted")
    parser.add_argument("--only", choices=("time", "loss"), help="one of the two parts")
    options = parser.parse_args(arguments)
    if not options.peer.is_file():
        parser.error(f"{options.peer} is no Python: see the head of benchmarks/update.py for how to make one with TRL")
    options.peer = options.peer.absolute()  # not resolved: an environment's Python is a link
    return options


if __name__ == "__main__":
    sys.exit(main())
