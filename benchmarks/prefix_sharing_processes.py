"""Compare whole iterations with and without shared prefixes, each in a fresh process: seconds and peak memory.

    python -m benchmarks.prefix_sharing_processes --out FILE [--agent actde] [--cases same] [--episodes 32]

A shipped agent plays a rollout in float32 and makes an update on it, in one epoch and one gradient step, with a
learning rate of 0. The cases are those of `benchmarks.prefix_sharing`. Each round starts one process for
`--prefix-sharing auto` and then one for `off`. A repeated command measures only what is missing in FILE.

Times are CPU seconds and wall-clock seconds. Only the latter depend much on other programs. `whole` is the peak of the
process's resident memory. `added` is `whole` minus the memory that the process held after the model was loaded. Ratios
are off / auto for times, and auto / off for memory.
"""

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeVar

from benchmarks import harness
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import tokens_in
from benchmarks.prefix_sharing import CASES, SIDES, Bench, parser

T = TypeVar("T")
CLOCKS = ("processor", "wall")
PARTS = {"play": ("play",), "update": ("update",), "iteration": ("play", "update")}


def measured(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Call `work`. Return its result, and its seconds and the process's peak memory in bytes."""
    reset_peak()
    processor, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, {"processor": time.process_time() - processor, "wall": time.perf_counter() - wall, "bytes": peak()}


def iteration(name: str, side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Play a rollout of a case and make an update on it. Return the times, the memory and some metrics."""
    harness.begin(options.threads)
    bench = Bench(name, options)
    held = resident()
    rollout, play = measured(lambda: bench.rollout(side))
    metrics, update = measured(lambda: bench.players[side].update(rollout))
    reader = bench.agents[side].reader
    return {
        "tokens": tokens_in(rollout),
        "sha256": hashlib.sha256(b"".join(segment.tokens.tobytes() for segment in rollout.segments)).hexdigest(),
        "play_sharing": reader.tokens / reader.computed if CASES[name].games else 1.0,
        "sharing": metrics["prefix_sharing"],
        "grad_norm": metrics["grad_norm"],
        "held": held,
        "play": play,
        "update": update,
    }


def in_fresh_process(name: str, side: str, options: argparse.Namespace) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(iteration, (name, side, options))


def summary(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return a case's ratios over all rounds in which both sides were measured."""
    sides = [[row for row in rows if row["case"] == name and row["side"] == side] for side in SIDES]
    pairs = list(zip(*sides, strict=False))
    found: dict[str, Any] = {
        "case": name,
        "episodes": pairs[0][0]["episodes"],
        "rounds": len(pairs),
        "same_tokens": len({row["sha256"] for pair in pairs for row in pair}) == 1,
        "targets": {"speedup": CASES[name].speedup, "memory": CASES[name].memory},
    }
    for clock, (part, parts) in product(CLOCKS, PARTS.items()):
        ratios = [sum(off[p][clock] for p in parts) / sum(auto[p][clock] for p in parts) for auto, off in pairs]
        found.setdefault(clock, {})[part] = harness.summary(ratios)
    peaks = [[max(row["play"]["bytes"], row["update"]["bytes"]) for row in pair] for pair in pairs]
    found["whole"] = harness.summary([auto / off for auto, off in peaks])
    added = [[peak - row["held"] for peak, row in zip(*each, strict=True)] for each in zip(peaks, pairs, strict=True)]
    found["added"] = harness.summary([auto / off for auto, off in added])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "actde", "same").parse_args(arguments)
    rows: list[dict[str, Any]] = harness.read(options.out).get("rows", [])
    known = {(row["case"], row["round"], row["side"]) for row in rows}
    for name, number, side in product(options.cases.split(","), range(options.rounds), SIDES):
        if (name, number, side) not in known:
            row = {"case": name, "side": side, "round": number, "episodes": options.episodes}
            rows.append(row | in_fresh_process(name, side, options))
            print(json.dumps(rows[-1]), flush=True)
            report(options, arguments, rows)
    report(options, arguments, rows)


def report(options: argparse.Namespace, arguments: Sequence[str] | None, rows: list[dict[str, Any]]) -> None:
    """Write all rows, and a summary of each case with a complete round."""
    complete = [name for name in CASES if {row["side"] for row in rows if row["case"] == name} == set(SIDES)]
    cases = [summary(rows, name) for name in complete]
    harness.report("prefix_sharing_processes", options, arguments, cases=cases, rows=rows)


if __name__ == "__main__":
    main()
