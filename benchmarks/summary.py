"""Write benchmarks/README.md, a page with the latest results of all benchmarks, from the JSON files in its folder.

python -m benchmarks.summary
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import environment_summary, harness
from benchmarks.harness import filled, shown, stored
from experiments.tables import table
from games.files import atomic_write

PAGE = Path(__file__).parent / "README.md"
HEADS = ("task", "compared with", "speed-up", "target")
GROWTH = {"turns": "turns per episode", "live": "live episodes", "commands": "commands per turn",
          "trunk": "parameters of the trunk"}  # fmt: skip
FAULTS = {
    "kills": "SIGKILL before a write of a command, which is then run again",
    "ranks": "training by two processes, with kills, stops and failing games",
    "ranks_sharded": "training by two processes with a sharded trunk, one of which is killed",
    "faults": "damaged files of runs and models",
    "faults_documents": "damaged configurations, prompts, reports and other documents",
    "isolation.content": "files that name foreign code or downloads, without a network",
    "isolation.starts": "commands in a folder with planted modules, without a network",
    "environments": "misbehaving environments",
    "disk": "full disks and missing permissions",
    "memory_limits": "limits of the address space",
}
"""Results file -> the faults that it counts in `total`. A key FILE.PART means the counts in `total[PART]` of FILE."""
OUTCOMES = ("tried", "refused", "exact", "failed")


def page() -> str:
    about = (
        "A speed-up is a ratio of two times, measured alternately in one run: the median, with the extremes of the"
        " rounds in brackets (for first visits the first and last decile). Above 1 our side is faster. `python -m"
        " benchmarks.summary` generates this page from the JSON files in this folder. The docstring of each benchmark"
        " describes its method."
    )
    parts = [
        "# Benchmarks",
        filled(about),
        "## Playing and training",
        table(HEADS, [*_commands(), *_turns(), *_update(), *_sharing(), *_grpo(), *_dilemma(), *_processes()]),
        _shared(),
        _kept(),
        _trl(),
        _trl_grpo(),
        _floor(),
        _communicated(),
        _sharded_play(),
        _memory(),
        "## Growth of the costs",
        _growth(),
        "## TextWorld",
        table(HEADS, [*environment_summary.textworld(), *environment_summary.generation()]),
        environment_summary.exact(),
        "## Other suites",
        table(HEADS, environment_summary.suites()),
        environment_summary.suites_exact(),
        "## Reliability",
        _reliability(),
    ]
    return "\n\n".join(parts) + "\n"


def _commands() -> Iterator[list[str]]:
    targets = {(20, 10, "passes"): "30, stretch 100", (20, 10, "copies"): "3"}
    for row in stored("commands")["rows"]:
        for name, peer in (("passes", "a pass for each command"), ("copies", "a copy of the cache for each command")):
            what = f"choosing one of {row['commands']} commands at turn {row['turn']}, SmolLM2"
            yield [what, peer, shown(row["ratios"][name], 1), targets.get((row["commands"], row["turn"], name), "")]


def _turns() -> Iterator[list[str]]:
    for turns, row in stored("turns")["episodes"].items():
        peer = "encoding the history at every turn"
        yield [f"an episode of {turns} turns, SmolLM2", peer, shown(row["ratio"], 1), "8" if turns == "30" else ""]


def _update() -> Iterator[list[str]]:
    for name, what in (
        ("update_turns", "episodes/s, SmolLM2, each turn is a sample, as TRL requires"),
        ("update", "samples/s, SmolLM2, a whole episode is a sample"),
        ("update_small", "samples/s, small trunk, a whole episode is a sample"),
    ):
        ratios = stored(name)["ratios"]
        yield [what, "TRL's PPO", shown(ratios["whole"]), "4, stretch 8" if name != "update_small" else ""]
        yield [f"update alone, {what.partition(', ')[2]}", "TRL's PPO", shown(ratios["update"]), ""]


def _sharing() -> Iterator[list[str]]:
    data = stored("prefix_sharing")
    whats = {
        "same": "{} episodes of one game",
        "groups": "{} episodes of four games",
        "different": "{} episodes of different games",
        "completions": "{} completions in groups of 8, GRPO",
    }
    for row in data["rows"]:
        what = whats[row["case"]].format(data["about"]["settings"]["episodes"])
        target, whole = f"{row['targets']['speedup']:g}", "3.5" if row["case"] == "same" else ""
        yield [f"update of {what}, shared prefixes, small trunk", "separate episodes", shown(row["speedup"]), target]
        if "play_speedup" in row:
            yield ["its rollout", "separate episodes", shown(row["play_speedup"]), target]
            yield ["both together", "separate episodes", shown(row["iteration_speedup"]), whole]
    for case in stored("prefix_sharing_processes")["cases"]:
        what = whats[case["case"]].format(case["episodes"])
        parts = {"update": "update", "play": "rollout", "iteration": "rollout and update"}
        for part, name in parts.items() if case["case"] != "completions" else [("update", "update")]:
            about = f"{name} of {what}, shared prefixes, SmolLM2, processor time"
            whole = "3.5" if case["case"] == "same" else ""
            target = whole if part == "iteration" else f"{case['targets']['speedup']:g}"
            yield [about, "separate episodes", shown(case["processor"][part]), target]
    rows = stored("learning_time")["rows"]
    for part, name, target in (
        ("total", "from random weights to 90% wins of one game", ""),
        ("last", "its last 100 episodes", "2"),
    ):
        ratio = shown(harness.summary([row[f"processor_{part}"]["ratio"] for row in rows]))
        yield [f"{name}, small trunk, processor time", "separate episodes", ratio, target]


def _grpo() -> list[list[str]]:
    ratios, games = stored("grpo")["ratios"], stored("grpo_games")
    whole = "a rollout of completions and its gradient steps, SmolLM2 with LoRA"
    step = "a gradient step on {episodes} episodes of {turns} turns, SmolLM2 with LoRA, processor time"
    peer = "TRL's GRPO with `ToolEnvironment` and random calls"
    return [
        [whole, "TRL's GRPO", shown(ratios["whole"]), "2"],
        ["its gradient steps alone", "TRL's GRPO", shown(ratios["update"]), ""],
        [step.format_map(games["about"]["settings"]), peer, shown(games["ratios"]["update"]), ""],
    ]


def _dilemma() -> Iterator[list[str]]:
    times = stored("dilemma")["seconds_per_rollout"]
    for peer in (name for name in times if name != "batch"):
        ratio = shown(harness.ratios(times[peer], times["batch"]), 1)
        target = "10, stretch 50" if peer == "public code" else ""
        yield ["a rollout and its four steps, the post's prisoner's dilemma", peer, ratio, target]


def _processes() -> Iterator[list[str]]:
    for trunk in stored("communication")["trunks"].values():
        what = f"a step of two processes, {trunk['parameters'] / 1e6:.1f} million parameters"
        yield [what, "torch's DDP", shown(trunk["speedup"]), "0.91"]
        yield ["the same with a message per tensor", "torch's DDP", shown(trunk["speedup_of_tensors"]), ""]


def _sharded_play() -> str:
    found = stored("sharded_play")
    peers = {"layers": "gathered by layer", "tensors": "tensor parallelism of transformers"}
    parts = [
        f"{about}, {what}: {shown(case['slowdown'][peer])} times as long,"
        f" {case['received'][peer] / 1e6:.0f} MB received"
        for name, about in (("decode", "a token"), ("read", f"{found['about']['settings']['length']} tokens"))
        for case in (found["cases"][name],)
        for peer, what in peers.items()
    ]
    return filled(
        "A pass of a model that two processes share, relative to a copy of the model in each process"
        f" ({found['about']['settings']['rows']} streams per process): {'; '.join(parts)}."
    )


def _memory() -> str:
    cases = stored("memory_model")["cases"]
    early = {name: case.get("first", case) for name, case in cases.items()}

    def within(found: Mapping[str, Any]) -> str:
        ratios = [case["ratio"] for case in found.values() if "ratio" in case]
        near = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
        return f"{near} of {len(ratios)} within 10% ({min(ratios):.2f}-{max(ratios):.2f})"

    rows = [
        [name, *(f"{case[kind]:,.0f}" if kind in case else "-" for kind in ("predicted", "measured")), *ratios]
        for name, case in cases.items()
        for ratios in [[f"{found['ratio']:.2f}" if "ratio" in found else "-" for found in (case, early[name])]]
    ]
    about = (
        "Peak memory of short training runs on a CPU, in MB, as `train --dry-run` predicts it and as measured. The last"
        " column is the ratio for the first prediction of each case, which was committed before it was measured."
        f" Present predictions: {within(cases)}. First predictions: {within(early)}."
    )
    head = ("run", "predicted", "measured", "predicted / measured", "first prediction")
    return f"{filled(about)}\n\n{table(head, rows)}"


def _communicated() -> str:
    trunk = stored("communication")["trunks"]["small"]
    ours, ddp = (f"{trunk[peer]['bytes']:,} bytes in {trunk[peer]['messages']}" for peer in ("ours", "ddp"))
    return filled(
        f"A step of {trunk['parameters']:,} parameters sends {ours} message, and {ddp} with DDP (target: at most 1.1"
        " times the bytes and the time of DDP). Both processes ran on one core, so DDP could not overlap its messages"
        " with the backward pass."
    )


def _trl() -> str:
    stream, turns = stored("update"), stored("update_turns")
    epochs = stream["about"]["settings"]["epochs"]
    ours, theirs = 1 + 3 * epochs, 4 + 6 * epochs
    memory = [f"{each['ratios']['memory']:.2f}" for each in (stream, turns)]
    losses = [f"{loss:.7f}" for loss in (stream["loss"]["ours"], stream["loss"]["step"]["policy_loss"])]
    return filled(
        f"Peak memory relative to TRL: {memory[0]} for whole episodes, {memory[1]} for turns (target: at most 0.5). On"
        f" the same tokens with {epochs} epochs a step of TRL costs {theirs} passes of a trunk: one to generate, one"
        f" each for reference, value and reward model, and {epochs} times forward and backward of policy and value"
        f" model. Ours costs {ours}. The possible speed-up is therefore {theirs / ours:.2f}, plus the cost of TRL's"
        " logits over the vocabulary. TRL's sample is a prompt and a response, though, so for an episode of several"
        f" turns it processes the history at every turn. Policy loss of one step of TRL: {losses[0]} by our update,"
        f" {losses[1]} by TRL."
    )


def _trl_grpo() -> str:
    data = stored("grpo")
    settings, trl = data["about"]["settings"], data["found"]["peer"]["trl"]
    steps = settings["epochs"] * settings["minibatches"]
    seconds = {name: shown(harness.summary(values)) for name, values in data["found"]["seconds"].items()}
    return filled(
        f"GRPO on free text: {settings['completions']} completions of at most {settings['tokens']} tokens in groups of"
        f" {settings['group']} and {steps} gradient steps on them take {seconds['ours']} s, and {seconds['trl']} s with"
        f" TRL {trl} (threads: {settings['threads']}). Peak memory relative to TRL: {data['ratios']['memory']:.2f}."
    )


def _shared() -> str:
    rows = stored("prefix_sharing")["rows"]
    parts = [f"`{row['case']}` {row['sharing']:.1f} and {row['memory']:.2f}" for row in rows]
    large = [f"`{case['case']}` {shown(case['added'])}" for case in stored("prefix_sharing_processes")["cases"]]
    costs = [row["cost"] for row in stored("prefix_sharing_choice")["rows"]]
    return filled(
        "Shared prefixes: the factor by which the number of computed tokens decreases, and the update's peak memory"
        f" relative to separate episodes (target for `same`: at most 0.5): {'; '.join(parts)}. Peak memory of a rollout"
        f" and its update with SmolLM2, without the model: {'; '.join(large)}. Time of an update with the automatic"
        f" choice between sharing and separate episodes, relative to the better of both, in {len(costs)} rollouts:"
        f" {shown(harness.summary(costs))} (target: at most 1.05; reached in {sum(cost <= 1.05 for cost in costs)})."
    )


def _kept() -> str:
    growth = stored("turns")["growth"]
    return filled(
        f"With a kept cache, each 1,000 tokens of history slow a turn down by {shown(growth['kept'], 0)} ms; attention,"
        f" measured separately, by {shown(growth['attention'], 0)} ms ([figure](../docs/turns.svg)). So the time of a"
        " turn grows no faster than that of attention."
    )


def _floor() -> str:
    parts = [
        f"{row['trunk']}, rollout {shown(row['rollout'])}, update {shown(row['update'])}"
        for row in stored("bare_trunk")["rows"]
    ]
    text = stored("free_text")["rows"][0]
    return filled(
        "Our time relative to the passes of the bare trunk over the same tokens (target for SmolLM2: at most 2.5 and"
        f" 1.4): {'; '.join(parts)}. {text['texts']} completions of at most {text['tokens']} tokens, SmolLM2 with LoRA:"
        f" {shown(text['rollout'])} times the tokens per second of `generate` of `transformers` (target: at least 0.8),"
        f" and the update takes {shown(text['update'])} times as long as the bare passes (target: at most 1.15)."
    )


def _growth() -> str:
    measures = ("rollout s", "update s", "forward s", "rollout MB", "update MB")
    rows = [
        [GROWTH[name], *(shown(exponents[measure]["end"]) for measure in measures)]
        for name, exponents in stored("growth")["exponents"].items()
    ]
    about = (
        "Exponents e of n^e between the two largest sizes, for a small trunk; 1 is linear growth"
        " ([figure](../docs/growth.svg)). Attention raises the exponent of turns, for the bare trunk as for ours."
        " Commands share the text and their first tokens. A full micro-batch needs no more memory. `growth.py` explains"
        " the rest."
    )
    heads = ("n", "rollout, s", "update, s", "bare forward, s", "rollout, MB", "update, MB")
    return f"{filled(about)}\n\n{table(heads, rows)}"


def _reliability() -> str:
    commands = stored("kills")["commands"].items()
    kills = ", ".join(f"{each['tried']} of {each['events']} (`{name}`)" for name, each in commands)
    about = (
        "Refused: the command ends with one line that says what is wrong. Exact: it ends as without the fault, counts"
        " the fault, or uses a changed value that is legal and has no checksum. Failed: anything else."
        f" The kills stand before {kills} system calls that change files."
    )
    rows = []
    for name, what in FAULTS.items():
        file, _, part = name.partition(".")
        total = stored(file)["total"][part] if part else stored(file)["total"]
        rows.append([what, *(f"{total[outcome]:,}" for outcome in OUTCOMES)])
    return f"{filled(about)}\n\n{table(('fault', *OUTCOMES), rows)}"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    atomic_write(PAGE, page())
