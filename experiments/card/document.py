"""The evaluation card as a document: it follows from the results and from the tasks alone."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.card.rows import PLAIN
from experiments.card.tasks import TASKS, Task
from experiments.compare.collapse_tables import interval
from experiments.tables import table
from games.textworld.generation.reserved_seeds import RESERVED

Row = Mapping[str, Any]
MEASURES = (("won", "success_rate", ".2f"), ("score", "normalized_score", ".2f"),
            ("steps", "steps", ".1f"), ("steps to win", "steps_to_win", ".1f"))  # fmt: skip
MARK = "†"


def markdown(results: Mapping[str, Any]) -> str:
    """The document; `results` are those of `rows.play`."""
    rows: Sequence[Row] = results["rows"]
    agents = list(dict.fromkeys(row["agent"] for row in rows if row["agent"] not in PLAIN))
    lines = ["# The evaluation card", "", *_about(results["episodes"], agents)]
    for task in TASKS:
        mine = [row for row in rows if row["task"] == task.name]
        if mine:
            lines += ["", f"## {task.title}", "", *_task(task, mine, results["games"][task.name]["games"])]
    return "\n".join([*lines, ""])


def _about(episodes: int, agents: Sequence[str]) -> list[str]:
    named = f" --agent {shlex.quote(','.join(agents))}" if agents else ""
    return [
        f"Every task is played on games of reserved seeds ({RESERVED.start} to {RESERVED.stop - 1}), from which `train`"
        " refuses to learn. They are different games and, but for `cooking`, which has test recipes of its own, and the"
        f" one house of `textnav`, of the test split by their hash. {MARK} marks an agent that was trained on some of"
        f" them all the same. Sampled, an agent plays {episodes} episodes, a different game each while there are as"
        " many; greedily it plays every game once, since games are deterministic.",
        "",
        "*Told*: the objective stands in the opening text. *Untold*: the same games without it (`goal=none`). Then"
        " nothing says what to do, but the world is as it was: in `cooking` the cookbook lies in the kitchen and tells"
        " the recipe to whoever examines it, in `simple` a note on the kitchen island names the food.",
        "",
        "Intervals are at 95%, over episodes (bootstrap; where all are alike, Clopper and Pearson's). Score is the"
        " share of the points, steps are commands per episode, steps to win those of the episodes that were won."
        " What others reported stands below for orientation: their games, turn limits and prompts are not the same.",
        "",
        "Made by",
        "",
        "```",
        f"python cli.py evaluate --card{named} --episodes {episodes}",
        "```",
    ]


def _task(task: Task, rows: Sequence[Row], found: Sequence[Sequence[Any]]) -> list[str]:
    level, seed, _ = found[0]
    count = rows[0]["games"]
    heads = ["player", "objective", *(head for head, _, _ in MEASURES)]
    lines = [
        f"{count} games, `{task.game('told', level, seed)}` and others by seeds up to {found[count - 1][1]};"
        f" at most {task.max_turns} commands.",
        "",
        table(heads, map(_cells, rows)),
    ]
    seen = {row["agent"]: row["trained_on"] for row in rows if row["trained_on"]}
    for agent, games in seen.items():
        lines += ["", f"{MARK} {agent} was trained on {games} of these {count} games."]
    if task.references:
        lines += ["", "Reported by others:", ""]
        lines += [f"* {reference.who}: {reference.value} ({reference.source})" for reference in task.references]
    return lines


def _cells(row: Row) -> list[str]:
    mark = f" {MARK}" if row["trained_on"] else ""
    name = row["agent"] if row["agent"] in PLAIN else f"{row['agent']}, {row['how']}"
    measures = [interval(row["evaluation"][measure], form) for _, measure, form in MEASURES]
    return [f"{name}{mark}", row["variant"], *measures]
