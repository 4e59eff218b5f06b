"""Train on one game from random weights to 90% wins, with and without shared prefixes, and compare the times.

    python -m benchmarks.learning_time [--runs FOLDER] [--sides auto,off] [--seeds 0,1,2] [--out FILE]

PPO trains the small trunk with the presets of `train`, until 90 of the last 100 episodes are won. A side is a value of
`--prefix-sharing`. Each finished run is stored in FOLDER, and a repeated command makes only the missing runs. FILE
contains all runs in FOLDER. To load both sides alike, start one command per side at the same time, and pin each to a
core of its own.

Times are CPU seconds and wall-clock seconds. Only the latter depend much on other programs. `last` is the time of the
last 100 episodes. If they include only a part of an iteration, the same part of its time counts. Ratios are off / auto.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.play.metrics import RECENT
from agents.training import presets
from benchmarks import harness

SIDES = ("auto", "off")
WON = 0.9
GAME = "textworld:simple?level=1&seed=7&rewards=dense&goal=detailed"
CLOCKS = ("processor", "wall")


def train(side: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a run to 90% wins. Return its side (a value of `--prefix-sharing`), seed, settings and iterations.

    For each iteration, there is a row with the seconds since the start of the run, and with some metrics.
    """
    from agents.training.factory import make_trainer

    settings = {"game": GAME, "optimizer": "ppo", "trunk": "small", "seed": seed, "prefix_sharing": side}
    config = presets.resolve(settings | {"stop_success": WON, "iterations": options.iterations})
    rows = list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, Path(folder) / "run")
        begun = time.process_time(), time.perf_counter()
        for metrics in trainer.run():
            now = time.process_time(), time.perf_counter()
            row = {name: end - start for name, start, end in zip(CLOCKS, begun, now, strict=True)}
            names = ("episodes", "recent_success", "rollout_sharing", "prefix_sharing")
            rows.append(row | {name: metrics[name] for name in names})
    if rows[-1]["recent_success"] < WON:
        raise SystemExit(f"seed {seed} has not won {WON:.0%} after {len(rows)} iterations")
    return {"side": side, "seed": seed, "settings": config.model_dump(mode="json"), "iterations": rows}


def total_and_last(rows: Sequence[dict[str, float]], clock: str) -> tuple[float, float]:
    """Return a tuple: the seconds of a whole run, and of its last 100 episodes. `rows` are the run's iterations."""
    episodes, seconds = ([0.0, *(row[name] for row in rows)] for name in ("episodes", clock))
    return seconds[-1], seconds[-1] - float(np.interp(episodes[-1] - RECENT, episodes, seconds))


def compared(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the times and ratios for each seed whose runs are finished on both sides."""
    found = {(run["side"], run["seed"]): run["iterations"] for run in runs}
    rows = []
    for seed in sorted({seed for _, seed in found}):
        if not all((side, seed) in found for side in SIDES):
            continue
        sides = {side: found[side, seed] for side in SIDES}
        row: dict[str, Any] = {"seed": seed}
        row |= {name: {side: rows[-1][name] for side, rows in sides.items()} for name in ("episodes", "recent_success")}
        for clock in CLOCKS:
            times = {side: total_and_last(rows, clock) for side, rows in sides.items()}
            for part, name in enumerate(("total", "last")):
                pair = {side: numbers[part] for side, numbers in times.items()}
                row[f"{clock}_{name}"] = pair | {"ratio": pair["off"] / pair["auto"]}
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    harness.begin(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed in harness.numbers(options.seeds):
        for side in options.sides.split(","):
            if not (file := options.runs / f"{side}-{seed}.json").exists():
                harness.write(file, train(side, seed, options))
                print(f"finished: {side}, seed {seed}", flush=True)
    runs = [json.loads(file.read_text()) for file in sorted(options.runs.glob("*-*.json"))]
    rows = compared(runs)
    for row in rows:
        print(f"seed {row['seed']}: episodes {row['episodes']}")
        for name in (f"{clock}_{part}" for clock in CLOCKS for part in ("total", "last")):
            pair = row[name]
            print(f"{name:16} auto {pair['auto']:7.1f} s  off {pair['off']:7.1f} s  off / auto {pair['ratio']:5.2f}")
    harness.write(options.out, harness.document("learning_time", options, arguments, rows=rows, runs=runs))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/learning-time"), help="folder of finished runs")
    parser.add_argument("--sides", default=",".join(SIDES), help="values of --prefix-sharing")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the runs")
    parser.add_argument("--iterations", type=int, default=60, help="a run that has not won after these is an error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
