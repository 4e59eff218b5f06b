"""The part of benchmarks/README.md on the speed and the exactness of environments (see `benchmarks.summary`)."""

from collections import Counter
from collections.abc import Iterator

from benchmarks.harness import filled, shown, stored


def textworld() -> Iterator[list[str]]:
    """Yield the rows of the table on the speed of TextWorld games."""
    targets = {
        ("warm", "admissible commands"): "300", ("warm", "with description and inventory"): "1,000",
        ("mix", "with policy"): "8; cooking 2", ("first", "admissible commands"): "1",
    }  # fmt: skip
    for row in stored("textworld_speed")["rows"]:
        deciles = {"median": row["ratio"], "least": row.get("ratio_low", 0.0), "most": row.get("ratio_high", 0.0)}
        ratio = shown(deciles) if "ratio_low" in row else f"{row['ratio']:,.0f}"
        what = {"warm": "cached steps", "mix": "10,000 steps from an empty cache", "first": "first visits"}[row["what"]]
        target = targets.get((row["what"], row["infos"]), "")
        yield [
            f"{what}, {row['infos']}, `{row['game'].removeprefix('textworld:')}`",
            "TextWorld's environment",
            ratio,
            target,
        ]


def generation() -> Iterator[list[str]]:
    """Yield the rows of the table on the speed of game generation."""
    for row in stored("generation")["rows"]:
        spread = {**row["summary"], "median": row["summary"]["ratio"]}
        yield [f"generating a game of `{row['family']}`, level {row['level']}", "`tw-make`", shown(spread, 1), "2.5"]


def exact() -> str:
    """Return a text on the exactness and the memory of TextWorld games."""
    exact, fuzz, memory = stored("textworld_exact"), stored("textworld_fuzz"), stored("textworld_memory")
    resets = [row["reset_us"] for row in stored("textworld_speed")["rows"] if "reset_us" in row]
    findings = sum(len(part["found"]) for part in fuzz["results"])
    damaged = Counter[str]()
    for form in stored("textworld_damage")["results"].values():
        for count in form.values():
            damaged.update(count)
    return filled(
        f"{exact['played']:,} steps in {exact['games']} games have {exact['differences']} differences to TextWorld's"
        f" environment. {fuzz['total']['commands']:,} hostile commands have {findings} findings. Of"
        f" {damaged.total():,} damaged files {damaged['refused']:,} are refused and {damaged['exact']} play exactly"
        f" like the intact file. A warm reset takes at most {max(resets):.1f} us. {memory['live_episodes']} live"
        f" episodes of a game take {memory['live_ratio']:.2f} times the memory of one. {memory['resets']:,} resets and"
        f" {memory['warm_steps']:,} warm steps add {memory['growth']:.0%}."
    )


def suites() -> Iterator[list[str]]:
    """Yield the rows of the table on the speed of other suites of games."""
    for row in stored("suites")["rows"]:
        yield [f"steps per CPU second, `{row['game']}`", "the suite's own environment", shown(row["ratio"]), ""]


def suites_exact() -> str:
    """Return a text on the exactness of other suites."""
    rows = stored("suites")["rows"]
    rates = "; ".join(f"`{row['game'].partition('?')[0]}` {shown(row['steps_per_second']['ours'], 0)}" for row in rows)
    steps, games = sum(row["compared"] for row in rows), sum(row["compared"] > 0 for row in rows)
    return filled(
        f"Steps per CPU second of a random player, Java and planner included: {rates}. In {steps:,} random steps of"
        f" {games} games, commands, scores and ends have {sum(row['differences'] for row in rows)} differences to the"
        " suites' own environments. ScienceWorld names things at random and is not compared."
    )
