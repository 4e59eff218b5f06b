"""What the benchmarks measured last, as one page: benchmarks/README.md follows from the JSON files beside it.

    python -m benchmarks.summary

A test holds the page and the files together. Leaves out how anything is measured; each benchmark says that at its head.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import shown
from experiments.tables import table
from games.files import atomic_write

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
HEADS = ("what", "beside", "times as fast", "wanted")
GROWTH = {"turns": "turns per episode", "live": "live episodes", "commands": "commands per turn",
          "trunk": "parameters of the trunk"}  # fmt: skip


def page() -> str:
    """The page, from the files."""
    about = (
        "Ratios of times, each between two measured in turns in one run: median, and in brackets the"
        " extremes of the rounds"
        " (first visits: first and last decile). Above 1 means that ours is faster. This page is made by `python -m"
        " benchmarks.summary` from the files beside it; how each is run stands at the head of its benchmark."
    )
    parts = [
        "# What was measured",
        _filled(about),
        "## The loop",
        table(HEADS, [*_commands(), *_turns(), *_update(), *_dilemma()]),
        _kept(),
        _trl(),
        _floor(),
        "## How cost grows",
        _growth(),
        "## TextWorld",
        table(HEADS, [*_textworld(), *_generation()]),
        _exact(),
    ]
    return "\n\n".join(parts) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(text, width=118, break_on_hyphens=False, break_long_words=False)


def _read(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


def _commands() -> Iterator[list[str]]:
    wanted = {(20, 10, "passes"): "30, aim 100", (20, 10, "copies"): "3"}
    for row in _read("commands")["rows"]:
        for name, peer in (("passes", "a pass for each command"), ("copies", "the cache copied for each command")):
            what = f"choosing among {row['commands']} commands at turn {row['turn']}, SmolLM2"
            yield [what, peer, shown(row["ratios"][name], 1), wanted.get((row["commands"], row["turn"], name), "")]


def _turns() -> Iterator[list[str]]:
    for turns, row in _read("turns")["episodes"].items():
        peer = "encoding the history again at every turn"
        yield [f"an episode of {turns} turns, SmolLM2", peer, shown(row["ratio"], 1), "8" if turns == "30" else ""]


def _update() -> Iterator[list[str]]:
    for name, what in (
        ("update_turns", "episodes/s, SmolLM2, each turn a sample as TRL needs it"),
        ("update", "samples/s, SmolLM2, a whole episode for one sample"),
        ("update_small", "samples/s, small trunk, a whole episode for one sample"),
    ):
        found = _read(name)["ratios"]
        wanted = "4, aim 8" if name != "update_small" else ""
        yield [what, "TRL's PPO", shown(found["whole"]), wanted]
        yield [f"update alone, {what.partition(', ')[2]}", "TRL's PPO", shown(found["update"]), ""]


def _dilemma() -> Iterator[list[str]]:
    times = _read("dilemma")["seconds_per_rollout"]
    for peer in (name for name in times if name != "batch"):
        ratios = sorted(theirs / ours for theirs, ours in zip(times[peer], times["batch"], strict=True))
        found = {"median": ratios[len(ratios) // 2], "least": ratios[0], "most": ratios[-1]}
        wanted = "10, aim 50" if peer == "public code" else ""
        yield ["a rollout and its four steps, the post's prisoner's dilemma", peer, shown(found, 1), wanted]


def _trl() -> str:
    found, turns = _read("update"), _read("update_turns")
    epochs = found["about"]["settings"]["epochs"]
    ours, theirs = 1 + 3 * epochs, 4 + 6 * epochs
    memory = [f"{each['ratios']['memory']:.2f}" for each in (found, turns)]
    losses = [f"{loss:.7f}" for loss in (found["loss"]["ours"], found["loss"]["step"]["policy_loss"])]
    return _filled(
        f"Peak memory over TRL's: {memory[0]} for whole episodes, {memory[1]} for turns (wanted: at most"
        " 0.5). On the same"
        f" tokens with {epochs} epochs TRL's step is {theirs} passes of a trunk (a pass to generate, one each"
        " of reference,"
        f" value and reward model, {epochs} times forward and backward of policy and value model) and ours"
        f" {ours}: what is to"
        f" be had there is {theirs / ours:.2f}, and what its logits over the vocabulary cost. An episode of"
        " several turns is"
        " no sample of TRL's, though: it takes a prompt and an answer, and so reads the history again for"
        " each. One step of"
        f" TRL's, fed to our update: policy loss {losses[0]}, TRL's {losses[1]}."
    )


def _kept() -> str:
    growth = _read("turns")["growth"]
    return _filled(
        "With the cache kept, 1,000 tokens of text before it make a turn"
        f" {shown(growth['kept'], 0)} ms slower; attention alone, timed apart, {shown(growth['attention'], 0)} ms"
        " ([figure](../docs/turns.svg)). So a turn's time does not grow beyond attention's share."
    )


def _floor() -> str:
    parts = [
        f"{row['trunk']}, a rollout {shown(row['rollout'])}, an update {shown(row['update'])}"
        for row in _read("floor")["rows"]
    ]
    return _filled(
        "Our time over that of the bare trunk's passes over the same tokens (wanted for SmolLM2: at most 2.5 and 1.4):"
        f" {'; '.join(parts)}."
    )


def _growth() -> str:
    rows = []
    for name, found in _read("growth")["exponents"].items():
        measures = ("rollout s", "update s", "forward s", "rollout MB", "update MB")
        rows.append([GROWTH[name], *(shown(found[measure]["end"]) for measure in measures)])
    about = (
        "Exponents e of n^e between the two largest sizes, a small trunk; 1 is a straight line"
        " ([figure](../docs/growth.svg)). What is above or below 1 is said at the head of `growth.py`:"
        " attention bends turns"
        " upwards, in the bare trunk as in ours; commands share the text and their first tokens; a full"
        " micro-batch needs"
        " no more memory."
    )
    heads = ("against", "rollout, s", "update, s", "bare forward, s", "rollout, MB", "update, MB")
    return f"{_filled(about)}\n\n{table(heads, rows)}"


def _textworld() -> Iterator[list[str]]:
    wanted = {
        ("warm", "admissible commands"): "300", ("warm", "with description and inventory"): "1,000",
        ("mix", "with policy"): "8; cooking 2", ("first", "admissible commands"): "1",
    }  # fmt: skip
    for row in _read("textworld_speed")["rows"]:
        deciles = {"median": row["ratio"], "least": row.get("ratio_low", 0.0), "most": row.get("ratio_high", 0.0)}
        ratio = shown(deciles) if "ratio_low" in row else f"{row['ratio']:,.0f}"
        what = {"warm": "steps known", "mix": "10,000 steps from a cold start", "first": "first visits"}[row["what"]]
        game = row["game"].removeprefix("textworld:")
        yield [
            f"{what}, {row['infos']}, `{game}`",
            "TextWorld's own",
            ratio,
            wanted.get((row["what"], row["infos"]), ""),
        ]


def _generation() -> Iterator[list[str]]:
    for row in _read("generation")["rows"]:
        found: Mapping[str, float] = row["summary"]
        spread = {"median": found["ratio"], "least": found["least"], "most": found["most"]}
        yield [f"a game of `{row['family']}`, level {row['level']}, made", "`tw-make`", shown(spread, 1), "2.5"]


def _exact() -> str:
    exact, fuzz, memory = _read("textworld_exact"), _read("textworld_fuzz"), _read("textworld_memory")
    resets = [row["reset_us"] for row in _read("textworld_speed")["rows"] if "reset_us" in row]
    found = sum(len(part["found"]) for part in fuzz["results"])
    counts = [count for form in _read("textworld_damage")["results"].values() for count in form.values()]
    damaged, refused, exact_ones = (
        sum(sum(count.values()) if how is None else count.get(how, 0) for count in counts)
        for how in (None, "refused", "exact")
    )
    return _filled(
        f"{exact['played']:,} steps over {exact['games']} games compared with TextWorld's own:"
        f" {exact['differences']} differences. {fuzz['total']['commands']:,} hostile commands: {found} findings. Of"
        f" {damaged:,} damaged files {refused:,} were refused and {exact_ones} played exactly as the sound one. A warm"
        f" reset takes at most {max(resets):.1f} us. {memory['live_episodes']} live episodes of a game take"
        f" {memory['live_ratio']:.2f} times the memory of one; {memory['resets']:,} resets and"
        f" {memory['warm_steps']:,} warm steps add {memory['growth']:.0%}."
    )


def main() -> None:
    """Write the page."""
    atomic_write(PAGE, page())


if __name__ == "__main__":
    main()
