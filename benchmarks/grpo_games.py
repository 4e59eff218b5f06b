"""Compare our GRPO on a text game with TRL's GRPO trainer and its environments: time of an update, and peak memory.

    python -m venv ../trl
    ../trl/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.21.2
    ../trl/bin/pip install textworld==1.7.0 gymnasium platformdirs
    python -m benchmarks.grpo_games --peer ../trl/bin/python [--calls own] [--out FILE]

Both sides have the same game, SmolLM2 with a new adapter, dtype, threads and number of episodes, which form one group.
A round is a rollout and one gradient step on it, at a learning rate of 0. The sides run alternately, each in its own
process:

    ours    commands are chosen among the admissible commands. `--prefix-sharing` is `auto`.
    TRL     `ToolEnvironment` (`games.serving.trl`) as `environment_factory`, with the chat template of Qwen3. The model
            writes tool calls, and TRL appends the answers of the game. A micro-batch is one episode.

SmolLM2 hardly writes tool calls. `--calls` therefore selects what TRL's model writes:

    random  calls with random admissible commands, which cost no time. The episodes of both sides have the same number
            of turns. Only the update is compared.
    own     what the model generates, at most `--tokens` tokens per episode. `calls` is the mean number of tool calls.

Times are CPU seconds, because wall-clock times depend on other programs. Memory is the peak of a process after its
model was loaded, minus the memory of its libraries.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.update import add_peer, beside_trl, compare, model_folder, show, sides

CLOCK = "process_time"


def jobs(options: argparse.Namespace, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return our job (see peers/own_trainer.py) and TRL's (see peers/trl_games.py)."""
    count, both = options.episodes, {"clock": CLOCK, "max_turns": options.turns}
    settings = {"optimizer": "grpo", "game": options.game, "episodes": count, "group_size": count, "parallel": count}
    settings |= {"trunk": model, "dtype": options.dtype, "lora": options.lora, "context": 2048}
    settings |= {"epochs": 1, "minibatches": 1, "lr": 0.0, "value_lr": 0.0, "measure_kl": False}
    ours = both | {"settings": settings, "episodes": count}
    names = ("game", "dtype", "lora", "episodes", "calls", "tokens")
    trl = both | {name: getattr(options, name) for name in names} | {"model": model}
    return ours, trl | {"rounds": options.warm + options.rounds}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the seconds and the memory of both sides, which take rounds alternately."""
    own_job, trl_job = jobs(options, str(folder))
    with beside_trl(options, own_job, "trl_games", lambda rollout: trl_job) as (rollout, _, workers):
        seen = workers["trl"].answer()
        return {
            "peer": workers["trl"].versions,
            "calls": seen["calls"],
            "failures": seen["failures"],
            "tokens": {"ours": sum(map(len, rollout["segments"])), "trl": round(seen["tokens"])},
            "chosen": {"ours": sum(map(len, rollout["choices"])), "trl": round(seen["written"])},
            **sides(workers, options.warm),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as name:
        measured = measure(options, model_folder("smollm2", Path(name) / "model"))
    ratios = compare(measured, options.episodes)
    show(measured, ratios)
    print(f"tool calls per episode of TRL: {measured['calls']:g}, failed: {measured['failures']:g}")
    harness.write(options.out, harness.document("grpo_games", options, arguments, found=measured, ratios=ratios))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--game", default="textworld:simple?seed=1", help="GAME with admissible commands")
    parser.add_argument("--calls", choices=("random", "own"), default="random", help="what TRL's model writes")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--lora", type=int, default=16, help="rank of the adapter")
    parser.add_argument("--episodes", type=int, default=4, help="episodes per rollout, which form one group")
    parser.add_argument("--turns", type=int, default=5, help="largest number of turns of an episode")
    parser.add_argument("--tokens", type=int, default=128, help="tokens per episode that TRL's model may write itself")
    parser.add_argument("--warm", type=int, default=0, help="warm-up rounds, not measured")
    return add_peer(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
