"""Write the report on a grid of runs: `results.json`, tables and figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actde.config import option
from agents.training import presets
from experiments.compare.figures import collapse_figure, curves_figure, sweep_figure, tradeoff_figure
from experiments.compare.intervals import RATE
from experiments.compare.results import (
    SOLVED,
    Column,
    Row,
    Rows,
    by_label,
    can_be_won,
    failed_episodes,
    means_table,
    number_at,
    varied_cells,
    varied_settings,
    winning_sequences,
    write_texts,
)
from experiments.compare.sections import collapse_section, text_section
from experiments.tables import duration, interval, json_text, table
from games.files import atomic_write, create_folder

CellFunction = Callable[[Row], object]
RESULTS = "results.json"


def write(out: Path, metadata: Mapping[str, Any], rows: Rows, diverged: Rows = ()) -> dict[str, Any]:
    """Write the report to the folder `out`, and return the results.

    `metadata` holds the command, the game, the test games and the number of episodes.
    """
    create_folder(out)
    results = {"about": dict(metadata), "runs": list(rows)} | ({"diverged": list(diverged)} if diverged else {})
    atomic_write(out / RESULTS, json_text(results))
    atomic_write(out / "README.md", markdown(results))
    curves_figure(rows, out / "curves.svg")
    if has_collapse(rows) and not write_texts(rows):
        collapse_figure(rows, out / "collapse.svg")
    if has_tradeoff(rows):
        tradeoff_figure(rows, out / "kept.svg")
    if varied_settings(rows):
        sweep_figure(rows, out / "sweep.svg")
    return results


def has_collapse(rows: Rows) -> bool:
    return all("collapse" in row for row in rows)  # results of earlier versions may lack it


def has_tradeoff(rows: Rows) -> bool:
    return can_be_won(rows) and has_collapse(rows) and any(map(winning_sequences, rows))


def headline(row: Row) -> str:
    """Return one line with the success or the reward of a finished run."""
    failed = f", {sum(failed_episodes(row))} episodes failed" if any(failed_episodes(row)) else ""
    if can_be_won([row]) and (recent := row["curves"].get("recent_success", [None])[-1]) is not None:
        return f"{row['name']}: {recent:z.2f} of the last episodes won{failed}"
    if rewards := row["curves"].get("reward"):
        return f"{row['name']}: reward per episode {rewards[-1]:z.2f} in the last rollout{failed}"
    return f"{row['name']}: trained on recorded play{failed}"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the report in Markdown."""
    metadata, rows, diverged = results["about"], results["runs"], results.get("diverged", [])
    training_time = duration(sum(row["curves"]["seconds"][-1] for row in rows))
    command = f"{metadata['command']}  # {training_time} of training"
    lines = [f"# {metadata['game']}", "", "Command:", "", "```", command, "```", ""]
    settings = varied_settings(rows)
    if "--quick" in metadata["command"].split():
        lines += [_quick_note(rows), ""]
    if metadata.get("tests"):
        lines += [_test_games_note(metadata["tests"], rows), ""]
    lines += [_runs_table(rows, diverged, settings), "", *_means_over_seeds(rows, settings), ""]
    figures = {
        "![learning curves](curves.svg)": True,
        "![success and entropy along the sweep](sweep.svg)": bool(settings),
        "![share won against KL to the first policy, and against winning sequences](kept.svg)": has_tradeoff(rows),
    }
    lines += [line for line, is_drawn in figures.items() if is_drawn]
    note = (
        f"Intervals are at 95%: of a run over its {metadata['episodes']} episodes (bootstrap), of a mean over seeds by"
        " Student's t, clipped to the range of the quantity (0 to 1 for a rate, from 0 for an entropy)."
        " Where all values are equal, there is no interval. Only in the columns on wins, scores and turns on the bonus,"
        " values that are all 0 or all 1 have Clopper and Pearson's exact interval."
    )
    if commands := _bonus_commands(rows):
        note += (
            f" Turns on the bonus: the share of an episode's turns whose command begins with {commands}. These turns"
            " earned the bonus in addition to the game's score; won and score do not include it."
        )
    lines += ["", note, "", *(f"`{row['name']}`: {row['error']}\n" for row in diverged)]
    if write_texts(rows):
        lines.append(text_section(rows, settings))
    elif has_collapse(rows):
        lines.append(collapse_section(rows, settings, metadata["episodes"]))
    return "\n".join(lines)


def _test_games_note(tests: str, rows: Rows) -> str:
    trained_on = max(row["evaluation"]["sampled"].get("trained_on") or 0 for row in rows)
    overlap = f"runs were trained on up to {trained_on} of them" if trained_on else "none of them was trained on"
    return f"Finished agents played `{tests}`; {overlap}. Learning curves show the games of training."


def _runs_table(rows: Rows, diverged: Rows, settings: Sequence[str]) -> str:
    def evaluation_cell(mode: str, name: str) -> CellFunction:
        return lambda row: interval(row["evaluation"][mode].get(name))

    def last_value(curve: str) -> CellFunction:
        return lambda row: "" if (value := row["curves"].get(curve, [None])[-1]) is None else f"{value:z.2f}"

    def settings_of(row: Row) -> list[object]:
        return [row["optimizer"], *varied_cells(row, settings), row["seed"]]

    columns: dict[str, CellFunction] = {"reward per episode, last rollout": last_value("reward")}
    if can_be_won(rows):
        columns = {
            "90 of the last 100 won after": _solved_after,
            "share of the last 100 won": last_value("recent_success"),
            "won, sampled": evaluation_cell("sampled", "success_rate"),
            "won, greedy": evaluation_cell("greedy", "success_rate"),
            "score, sampled": evaluation_cell("sampled", "normalized_score"),
        }
    if _bonus_commands(rows):
        columns |= {
            f"turns on the bonus, {mode}": evaluation_cell(mode, "bonus_share") for mode in ("sampled", "greedy")
        }
    columns[_entropy_header(rows)] = evaluation_cell("sampled", "entropy")
    if any(any(failed_episodes(row)) for row in rows):
        columns["failed episodes, training"] = lambda row: failed_episodes(row)[0]
        columns["failed episodes, evaluation"] = lambda row: failed_episodes(row)[1]
    lines = [[*settings_of(row), *(cell(row) for cell in columns.values())] for row in rows]
    lines += [[*settings_of(row), "diverged", *[""] * (len(columns) - 1)] for row in diverged]
    return table(["optimizer", *settings, "seed", *columns], lines)


def _solved_after(row: Row) -> str:
    curves = row["curves"]
    # with an expert, the success counts fewer episodes than were played; recorded play has none of its own
    if "success_with_expert" in curves or "recent_success" not in curves:
        return ""
    for success, episodes, seconds in zip(curves["recent_success"], curves["episodes"], curves["seconds"], strict=True):
        if episodes >= 100 and success >= SOLVED:
            return f"{episodes:z.0f} episodes, {seconds / 60:z.1f} min"
    return "never"


def _quick_note(rows: Rows) -> str:
    options = [f"`{option(name)} {value}`" for name, value in presets.QUICK.items() if name != "game"]
    lr = presets.resolve({name: rows[0]["settings"]["run"][name] for name in ("game", "optimizer")}).update.lr
    return f"`--quick` stands for {', '.join(options)}. Without it, the preset of `--lr` is {lr}."


def _entropy_header(rows: Rows) -> str:
    return "entropy of a text, sampled (nats)" if write_texts(rows) else "entropy, sampled (nats)"


def _bonus_commands(rows: Rows) -> str:
    commands = dict.fromkeys(row["settings"]["reward"]["bonus_command"] for row in rows)
    return " or ".join(f"`{command}`" for command in filter(None, commands))


def _means_over_seeds(rows: Rows, settings: Sequence[str]) -> list[str]:
    rates = [(f"won, {mode}", mode, "success_rate") for mode in ("sampled", "greedy") if can_be_won(rows)]
    rates += [("turns on the bonus, sampled", "sampled", "bonus_share")] if _bonus_commands(rows) else []
    columns = [
        *(
            Column(header, number_at("evaluation", *keys, "value"), RATE, interval, clopper_pearson=True)
            for header, *keys in rates
        ),
        Column(_entropy_header(rows), number_at("evaluation", "sampled", "entropy", "value"), text=interval),
    ]
    groups = [group for group in by_label(rows).values() if len(group) > 1]
    return [means_table(groups, settings, columns)] if groups else []
