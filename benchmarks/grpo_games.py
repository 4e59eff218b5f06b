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
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.update import beside_trl, compare, model_folder, parse_peer, sides


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the seconds and the memory of both sides, whose jobs peers/own_trainer.py and trl_games.py describe."""
    count, both = options.episodes, {"clock": "process_time", "max_turns": options.turns, "episodes": options.episodes}
    settings = {
        "optimizer": "grpo",
        "game": options.game,
        "episodes": count,
        "group_size": count,
        "parallel": count,
        "trunk": str(folder),
        "dtype": options.dtype,
        "lora": options.lora,
        "context": 2048,
        "epochs": 1,
        "minibatches": 1,
        "lr": 0.0,
        "value_lr": 0.0,
        "measure_kl": False,
    }
    theirs = {name: getattr(options, name) for name in ("game", "dtype", "lora", "calls", "tokens")}
    theirs |= both | {"model": str(folder), "rounds": options.warm + options.rounds}
    ours = both | {"settings": settings}
    with beside_trl(options, ours, "trl_games", lambda rollout: theirs) as (rollout, _, workers):
        seen = workers["trl"].answer()
        return {
            "peer": workers["trl"].versions,
            **{name: seen[name] for name in ("calls", "failures")},
            "tokens": {"ours": sum(map(len, rollout["segments"])), "trl": round(seen["tokens"])},
            "chosen": {"ours": sum(map(len, rollout["choices"])), "trl": round(seen["written"])},
            **sides(workers, options.warm),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        __doc__,
        game=("textworld:simple?seed=1", "GAME with admissible commands"),
        dtype=("float32", "float32 or bfloat16"),
        lora=(16, "rank of the adapter"),
        episodes=(4, "episodes per rollout, which form one group"),
        turns=(5, "largest number of turns of an episode"),
        tokens=(128, "tokens per episode that TRL's model may write itself"),
        warm=(0, "warm-up rounds, not measured"),
    )
    parser.add_argument("--calls", choices=("random", "own"), default="random", help="what TRL's model writes")
    options = parse_peer(parser, arguments)
    with tempfile.TemporaryDirectory() as name:
        measured = measure(options, model_folder("smollm2", Path(name) / "model"))
    results = compare(measured, options.episodes)
    print(f"tool calls per episode of TRL: {measured['calls']:g}, failed: {measured['failures']:g}")
    harness.report("grpo_games", options, arguments, **results)


if __name__ == "__main__":
    main()
