"""Compare whole iterations with and without shared prefixes, each in a fresh process: seconds and peak memory.

    python -m benchmarks.prefix_sharing_processes --out FILE [--agent actde] [--cases same] [--episodes 32]

A shipped agent plays a rollout in float32 and makes an update on it, in one epoch and one gradient step, with a
learning rate of 0. The cases are those of `benchmarks.prefix_sharing`. Each round starts one process for
`--prefix-sharing auto` and then one for `off`. FILE is written after each process. A repeated command measures only
what is missing in FILE.

Times are CPU seconds and wall-clock seconds. Only the latter depend much on other programs. Ratios of times are
off / auto.

Memory is the peak of the resident memory. `whole` is the peak of the process, including its libraries and the model.
`added` is `whole` minus the memory that the process held after the model was loaded. It contains the key/value cache,
the activations and the gradients. Ratios of memory are auto / off.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from benchmarks import harness
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import tokens_in
from benchmarks.prefix_sharing import CASES, SIDES, Bench, parser

T = TypeVar("T")
CLOCKS = ("processor", "wall")
PARTS = ("play", "update", "iteration")


def measured(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Call `work`. Return a tuple: its result, and a dict of its seconds and of the process's peak memory in bytes."""
    reset_peak()
    begun = time.process_time(), time.perf_counter()
    result = work()
    seconds = time.process_time() - begun[0], time.perf_counter() - begun[1]
    return result, {"processor": seconds[0], "wall": seconds[1], "bytes": peak()}


def iteration(name: str, side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Play a rollout of a case and make an update on it, in this process. Return the times, the memory and metrics."""
    harness.begin(options.threads)
    bench = Bench(name, options)
    held = resident()
    rollout, play = measured(lambda: bench.rollout(side))
    metrics, update = measured(lambda: bench.players[side].update(rollout))
    reader, digest = bench.agents[side].reader, hashlib.sha256()
    for segment in rollout.segments:
        digest.update(segment.tokens.tobytes())
    return {
        "tokens": tokens_in(rollout),
        "sha256": digest.hexdigest(),
        "play_sharing": reader.tokens / reader.computed if CASES[name].games else 1.0,
        "sharing": metrics["prefix_sharing"],
        "grad_norm": metrics["grad_norm"],
        "held": held,
        "play": play,
        "update": update,
    }


def in_fresh_process(name: str, side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the result of `iteration` in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
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
    for clock in CLOCKS:
        seconds = [[{p: row[p][clock] for p in PARTS[:2]} for row in pair] for pair in pairs]
        for pair in seconds:
            for row in pair:
                row["iteration"] = sum(row.values())
        found[clock] = {
            part: harness.ratios([off[part] for _, off in seconds], [auto[part] for auto, _ in seconds])
            for part in PARTS
        }
    whole = [[max(row[part]["bytes"] for part in PARTS[:2]) for row in pair] for pair in pairs]
    held = [[row["held"] for row in pair] for pair in pairs]
    added = [[one - other for one, other in zip(*pair, strict=True)] for pair in zip(whole, held, strict=True)]
    for kind, pairs_of_bytes in (("whole", whole), ("added", added)):
        found[kind] = harness.ratios([auto for auto, _ in pairs_of_bytes], [off for _, off in pairs_of_bytes])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = parser(__doc__, "actde", "same").parse_args(arguments)
    stored: dict[str, Any] = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    rows: list[dict[str, Any]] = stored.get("rows", [])
    known = {(row["case"], row["side"], row["round"]) for row in rows}
    for name in options.cases.split(","):
        for number in range(options.rounds):
            for side in SIDES:
                if (name, side, number) in known:
                    continue
                row = {"case": name, "side": side, "round": number, "episodes": options.episodes}
                rows.append(row | in_fresh_process(name, side, options))
                print(json.dumps(rows[-1]), flush=True)
                write(options, arguments, rows)
    write(options, arguments, rows)
    return 0


def write(options: argparse.Namespace, arguments: Sequence[str] | None, rows: list[dict[str, Any]]) -> None:
    """Write all rows, and a summary of each case with a complete round."""
    complete = [name for name in CASES if {row["side"] for row in rows if row["case"] == name} == set(SIDES)]
    cases = [summary(rows, name) for name in complete]
    harness.write(options.out, harness.document("prefix_sharing_processes", options, arguments, cases=cases, rows=rows))


if __name__ == "__main__":
    sys.exit(main())
