"""Measure how time and memory grow with turns per episode, live episodes, commands per turn and the trunk's size.

    python -m benchmarks.growth [--out FILE] [--figure FILE.svg]

One setting is swept at a time, while the others stay at `BASE`. Episodes are tapes (recorded episodes). Every turn
shows the same text of about 90 tokens. The trunk is a Llama like `small`, with a longer context.

The benchmark times a rollout, one epoch of its update, and the bare trunk's forward pass over the same tokens. The
sizes of a sweep alternate. A separate process for each size measures the peak memory of rollout and update, minus the
memory held before.

The exponent e of n^e is fitted once per round over all sizes of a sweep, and computed from the two largest sizes, where
fixed costs matter least. The expected exponents are:

* turns: 1, since the trunk processes each token once. Attention raises this exponent, also for the bare trunk.
* live episodes, and parameters of the trunk without the embedding: 1.
* commands: below 1, since the commands of a turn share the text and their first tokens.

Times contain a fixed cost per pass. A full cache grows by a quarter. Once a micro-batch is full, the memory of the
update is constant.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.training.rollout_batch import RolloutBatch
from benchmarks import harness
from benchmarks.bare_trunk import forward
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import Player, tokens_in
from benchmarks.recorded_episodes import EpisodeSpec, recorded_episodes
from experiments.plot_style import PALETTE, make_figure, save_figure
from games.child_process import python_environment

Point = dict[str, int]
BASE: Point = {"turns": 10, "live": 4, "commands": 15, "width": 128, "layers": 2}
SWEEPS: dict[str, list[Point]] = {
    "turns": [{"turns": turns} for turns in (5, 10, 20, 40, 80)],
    "live": [{"live": live} for live in (1, 2, 4, 8, 16, 32)],
    "commands": [{"commands": commands} for commands in (5, 10, 20, 40, 80)],
    "trunk": [{"width": w, "layers": n} for w, n in ((64, 2), (128, 2), (128, 4), (256, 4), (256, 8), (512, 8))],
}
LABELS = {
    "turns": "turns per episode",
    "live": "live episodes",
    "commands": "commands per turn",
    "trunk": "trunk's parameters",
}
MEASURES, TIMES = ("rollout", "update"), ("rollout", "update", "forward")
POSITIONS, WORDS = 16_384, 80  # context length of the trunk in tokens, and words of every turn's text


class Bench:
    """A player and its tapes (recorded episodes) for one size of a sweep."""

    latest: RolloutBatch

    def __init__(self, point: Point) -> None:
        self.specs = uniform(point["live"], point["turns"], point["commands"])
        model, tokenizer = _model(point["width"], point["layers"])
        explicit = {"lr": 0.0, "epochs": 1, "minibatches": 1, "context": POSITIONS, "parallel": point["live"]}
        self.player = Player({"optimizer": "actde", **explicit}, model=model, tokenizer=tokenizer)
        self.parameters = sum(p.numel() for p in model.base.model.layers.parameters())

    def rollout(self) -> None:
        self.latest = self.player.rollout(self.specs)

    def update(self) -> None:
        self.player.update(self.latest)

    def forward(self) -> None:
        forward(self.player.model, self.latest, self.player.config.update.micro_batch_tokens)


def uniform(count: int, turns: int, commands: int) -> list[EpisodeSpec]:
    """Return `count` tapes with the same text at every turn. The commands differ between turns."""
    specs = recorded_episodes(min(count, 4), max(turns, 8), commands=commands)
    longest = max((scene.observation for scene in specs[0].scenes[1:8]), key=len)
    text = " ".join(longest.split()[:WORDS])
    return [
        replace(spec, scenes=tuple(replace(scene, observation=text) for scene in spec.scenes[:turns]))
        for spec in itertools.islice(itertools.cycle(specs), count)
    ]


def _model(width: int, layers: int) -> tuple[ActorCritic, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer

    tokenizer = word_tokenizer(textworld_vocabulary())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return ActorCritic(LlamaForCausalLM(config), Heads(width, len(tokenizer), init_std=0.02)), tokenizer


def seconds_of(points: Sequence[Point], rounds: int) -> list[dict[str, Any]]:
    """Return a row of seconds for each size. Every round measures all sizes."""
    benches = [Bench(BASE | point) for point in points]
    peers: dict[str, Callable[[], object]] = {}
    for index, bench in enumerate(benches):
        peers |= {f"{name} {index}": getattr(bench, name) for name in TIMES}
    times = harness.alternate(peers, rounds)
    rows = []
    for index, (point, bench) in enumerate(zip(points, benches, strict=True)):
        seconds = {name: times[f"{name} {index}"] for name in TIMES}
        n = bench.parameters if "width" in point else next(iter(point.values()))
        rows.append({**point, "n": n, "tokens": tokens_in(bench.latest), "seconds": seconds})
    return rows


def memory_of(point: Point) -> dict[str, int]:
    """Return the added peak memory of a rollout and of an update in bytes. Call the function in a new process."""
    bench, added = Bench(BASE | point), {}
    for name, measured in (("rollout", bench.rollout), ("update", bench.update)):
        before = resident()
        reset_peak()
        measured()
        added[name] = peak() - before
    return added


def memory_in_child(point: Point, threads: int) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.growth", "--threads", str(threads), "--point", json.dumps(point)]
    root = Path(__file__).parent.parent
    added: dict[str, int] = json.loads(subprocess.check_output(command, env=python_environment(), cwd=root))
    return added


def exponents(n: Sequence[float], y: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the exponents e of y ~ n^e. `n` is [sizes], and `y` is [sizes][rounds].

    `all` is a least-squares fit of the logarithms over all sizes. `end` is computed from the two largest sizes.
    """
    x, logs = np.log(np.asarray(n, dtype=float)), np.log(np.asarray(y, dtype=float))
    whole = np.polyfit(x, logs, 1)[0]
    end = (logs[-1] - logs[-2]) / (x[-1] - x[-2])
    return {"all": harness.summary(whole.tolist()), "end": harness.summary(end.tolist())}


def fits(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the exponents of a sweep for times and, if the rows contain it, for memory."""
    n = [row["n"] for row in rows]
    fitted = {f"{name} s": exponents(n, [row["seconds"][name] for row in rows]) for name in TIMES}
    if "bytes" in rows[0]:
        fitted |= {f"{name} MB": exponents(n, [[row["bytes"][name]] for row in rows]) for name in MEASURES}
    return fitted


def show(sweep: str, rows: Sequence[dict[str, Any]], fitted: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"\n{LABELS[sweep]:>20} {'tokens':>7} {'rollout, s':>20} {'update, s':>20} {'forward, s':>20}"
          f" {'rollout, MB':>12} {'update, MB':>12}")  # fmt: skip
    for row in rows:
        times = " ".join(f"{harness.shown(harness.summary(row['seconds'][name]), 3):>20}" for name in TIMES)
        memory = " ".join(f"{row['bytes'][name] / 1e6:12.1f}" for name in MEASURES) if "bytes" in row else ""
        print(f"{row['n']:20,} {row['tokens']:7} {times} {memory}")
    for what in ("all", "end"):
        label = "exponent, all sizes" if what == "all" else "the largest two"
        shown = [f"{name} {harness.shown(fit[what])}" for name, fit in fitted.items()]
        print(f"{label:>20}: {'; '.join(shown)}", flush=True)


def draw(data: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the seconds and, if all rows contain it, the memory of every sweep. Dotted lines are proportional to n."""
    from matplotlib.ticker import LogLocator, NullLocator

    with_memory = all("bytes" in row for rows in data.values() for row in rows)
    lines = ("seconds", "peak memory, MB") if with_memory else ("seconds",)
    figure, axes = make_figure(len(lines), len(data), width=3.0 * len(data), height=0.6 + 2.4 * len(lines))
    axes = np.reshape(axes, (len(lines), len(data)))
    for column, (sweep, rows) in enumerate(data.items()):
        n = np.array([row["n"] for row in rows], dtype=float)
        for label, axis in zip(lines, axes[:, column], strict=True):
            for name, color, mark in zip(MEASURES, PALETTE, "os", strict=False):
                y = np.array(
                    [row["seconds"][name] if label == "seconds" else [row["bytes"][name] / 1e6] for row in rows]
                )
                middle = np.median(y, axis=1)
                spread = (middle - y.min(axis=1), y.max(axis=1) - middle)
                axis.errorbar(n, middle, spread, marker=mark, color=color, label=name)
                axis.plot(n, middle[-1] * n / n[-1], color=color, linewidth=0.6, linestyle=":")
            axis.set(xscale="log", yscale="log", ylabel=label if column == 0 else None)
            labels = [_tick(x, after) for x, after in zip(n, [*n[1:], float("inf")], strict=True)]
            axis.set_xticks(n, labels, fontsize=8)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_minor_locator(NullLocator())
        axes[-1, column].set(xlabel=LABELS[sweep])
    axes[0, 0].legend(frameon=False)
    save_figure(figure, path)


def _tick(x: float, after: float) -> str:
    """Return the label of the tick at x, or "" if the next label would touch it."""
    if x < 1e5:
        return f"{x:.0f}"
    return f"{x / 1e6:.2g}M" if after > 2.5 * x else ""


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        sweeps=(",".join(SWEEPS), "sweeps to run"),
        sizes=(int, "number of sizes of each sweep; default: all"),
        no_memory=(False, "measure time only"),
        figure=(Path, "file of the figure"),
        point=(json.loads, argparse.SUPPRESS),  # for child processes
    )
    if options.point is not None:
        print(json.dumps(memory_of(options.point)))
        return
    data, fitted = {}, {}
    for sweep in options.sweeps.split(","):
        points = SWEEPS[sweep][: options.sizes]
        data[sweep] = seconds_of(points, options.rounds)
        for point, row in zip(points, data[sweep], strict=True):
            if not options.no_memory:
                row["bytes"] = memory_in_child(point, options.threads)
        fitted[sweep] = fits(data[sweep])
        show(sweep, data[sweep], fitted[sweep])
    harness.report("growth", options, arguments, base=BASE, sweeps=data, exponents=fitted)
    if options.figure is not None:
        draw(data, options.figure)


if __name__ == "__main__":
    main()
