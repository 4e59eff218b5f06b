"""Format the evaluation card as a Markdown document."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.card.rows import BASELINES
from experiments.card.tasks import TASKS, VARIANTS, Task
from experiments.tables import duration, interval, table
from games.textworld.generation.reserved_seeds import RESERVED

Row = Mapping[str, Any]
FORMATS = {"won": ("success_rate", "z.2f"), "score": ("normalized_score", "z.2f"),
           "steps": ("steps", "z.1f"), "steps to win": ("steps_to_win", "z.1f")}  # fmt: skip
MARK = "†"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the document. `results` is a dict that `rows.play` yields."""
    rows: Sequence[Row] = results["rows"]
    agents = list(dict.fromkeys(row["agent"] for row in rows if row["agent"] not in BASELINES))
    lines = [
        "# The evaluation card",
        "",
        *_introduction(results["episodes"], agents, sum(row["seconds"] for row in rows)),
    ]
    for task in TASKS:
        if task_rows := [row for row in rows if row["task"] == task.name]:
            lines += ["", f"## {task.title}", "", *_task_section(task, task_rows, results["games"][task.name]["games"])]
    return "\n".join([*lines, ""])


def _introduction(episodes: int, agents: Sequence[str], seconds: float) -> list[str]:
    agent_option = f" --agent {shlex.quote(','.join(agents))}" if agents else ""
    return [
        f"All games have reserved seeds ({RESERVED.start} to {RESERVED.stop - 1}), which `train` refuses. The games of"
        " a task are distinct. Their hash places them in the test split, except for `cooking`, which has its own test"
        f" recipes, and the single house of `textnav`. {MARK} marks an agent that was trained on some of the games"
        f" nevertheless. A sampled agent plays {episodes} episodes, on distinct games while there are enough. A greedy"
        " agent plays every game once, since games are deterministic.",
        "",
        "*With objective*: the opening text states the objective. *Without objective*: the same games with `goal=none`."
        " No text then states the objective, but the world is the same: in `cooking` the cookbook in the kitchen shows"
        " the recipe when it is examined, and in `simple` a note on the kitchen island names the food.",
        "",
        "Intervals are at 95% over episodes (bootstrap; Clopper-Pearson where all episodes are equal). Score is the"
        " share of the maximum score, steps are commands per episode, and steps to win are those of episodes that were"
        " won. Results reported by others are given for orientation: their games, turn limits and prompts differ.",
        "",
        "Command:",
        "",
        "```",
        f"python cli.py evaluate --card{agent_option} --episodes {episodes}  # {duration(seconds)}",
        "```",
    ]


def _task_section(task: Task, rows: Sequence[Row], games: Sequence[Sequence[Any]]) -> list[str]:
    (level, seed, _), count = games[0], rows[0]["games"]
    lines = [
        f"{count} games: `{task.game('told', level, seed)}`, and others with seeds up to {games[count - 1][1]}; at most"
        f" {task.max_turns} commands.",
        "",
        table(["player", "prompt", *FORMATS], map(_row_cells, rows)),
    ]
    for agent, training_count in {row["agent"]: row["trained_on"] for row in rows if row["trained_on"]}.items():
        lines += ["", f"{MARK} {agent} was trained on {training_count} of these {count} games."]
    for row in rows:
        if row["evaluation"]["errors"]:
            player, prompt, *_ = _row_cells(row)
            lines += ["", f"{player}, {prompt}: the game failed in {row['evaluation']['errors']} episodes."]
    if task.references:
        lines += ["", "Reported by others:", ""]
        lines += [f"* {reference}" for reference in task.references]
    return lines


def _row_cells(row: Row) -> list[str]:
    mark = f" {MARK}" if row["trained_on"] else ""
    name = row["agent"] if row["agent"] in BASELINES else f"{row['agent']}, {row['how']}"
    measures = [interval(row["evaluation"][measure], format_spec) for measure, format_spec in FORMATS.values()]
    return [f"{name}{mark}", VARIANTS[row["variant"]], *measures]
