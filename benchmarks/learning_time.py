"""Train on one game from random weights to 90% wins, with and without shared prefixes, and compare the times.

    python -m benchmarks.learning_time [--runs FOLDER] [--sides auto,off] [--seeds 0,1,2] [--out FILE]

PPO trains the small trunk with the presets of `train`, until 90 of the last 100 episodes are won. A side is a value of
`--prefix-sharing`. FILE contains all runs in FOLDER, and a repeated command makes only the missing ones. To load both
sides alike, start one command per side at the same time, and pin each to a core of its own.

Times are CPU seconds and wall-clock seconds. Only the latter depend much on other programs. `last` is the time of the
last 100 episodes. If they include only a part of an iteration, the same part of its time counts. Ratios are off / auto.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from agents.play.metrics import RECENT
from agents.training import presets
from benchmarks import harness

SIDES = ("auto", "off")
WON = 0.9
GAME = "textworld:simple?level=1&seed=7&rewards=dense&goal=detailed"
CLOCKS, METRICS = ("processor", "wall"), ("episodes", "recent_success", "rollout_sharing", "prefix_sharing")


def train(side: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a run to 90% wins. Return its settings, and the metrics and seconds since its start of each iteration."""
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
            rows.append(row | {name: metrics[name] for name in METRICS})
    if rows[-1]["recent_success"] < WON:
        raise SystemExit(f"seed {seed} has not won {WON:.0%} after {len(rows)} iterations")
    return {"side": side, "seed": seed, "settings": config.model_dump(mode="json"), "iterations": rows}


def total_and_last(rows: Sequence[dict[str, float]], clock: str) -> tuple[float, float]:
    """Return the seconds of a whole run and of its last 100 episodes. `rows` are the run's iterations."""
    episodes, seconds = ([0.0, *(row[name] for row in rows)] for name in ("episodes", clock))
    return seconds[-1], seconds[-1] - float(np.interp(episodes[-1] - RECENT, episodes, seconds))


def compared(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the times and ratios for each seed whose runs are finished on both sides."""
    found = {(run["side"], run["seed"]): run["iterations"] for run in runs}
    rows = []
    for seed in sorted({seed for _, seed in found if all((side, seed) in found for side in SIDES)}):
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


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        runs=(Path("runs/learning-time"), "folder of finished runs"),
        sides=(",".join(SIDES), "values of --prefix-sharing"),
        seeds=("0,1,2", "seeds of the runs"),
        iterations=(60, "a run that has not won after these is an error"),
    )
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed, side in product(harness.numbers(options.seeds), options.sides.split(",")):
        if not (file := options.runs / f"{side}-{seed}.json").exists():
            harness.write(file, train(side, seed, options))
            print(f"finished: {side}, seed {seed}", flush=True)
    runs = [json.loads(file.read_text()) for file in sorted(options.runs.glob("*-*.json"))]
    rows = compared(runs)
    for row in rows:
        print(f"seed {row['seed']}: episodes {row['episodes']}")
        for clock, part in product(CLOCKS, ("total", "last")):
            name = f"{clock}_{part}"
            pair = row[name]
            print(f"{name:16} auto {pair['auto']:7.1f} s  off {pair['off']:7.1f} s  off / auto {pair['ratio']:5.2f}")
    harness.report("learning_time", options, arguments, rows=rows, runs=runs)


if __name__ == "__main__":
    main()
