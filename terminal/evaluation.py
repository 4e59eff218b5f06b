"""Evaluate an agent beside baselines, and play the evaluation card, a benchmark of fixed tasks."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

import agents
import games
from agents.play.episode import Episode, wins
from agents.play.evaluate import Estimate, Evaluation, by_level, estimate, evaluate
from agents.play.transcript import recorder
from games.files import atomic_write
from terminal import console
from terminal.playback import note_unknown_words

MEASURES = (
    ("success", "success_rate", "z.0%"),
    ("score", "normalized_score", "z.0%"),
    ("reward", "reward", "+z.2f"),
    ("steps", "steps", "z.1f"),
    ("steps to win", "steps_to_win", "z.1f"),
    ("entropy", "entropy", "z.2f"),
    ("bonus command", "bonus_share", "z.0%"),
)
TEXT_MEASURES = (
    ("reward", "reward", "+z.2f"),
    ("entropy", "token_entropy", "z.2f"),
    ("distinct-2", "distinct_2", "z.2f"),
    ("self-BLEU", "self_bleu", "z.2f"),
    ("top word", "commonest_word", "z.0%"),
)
"""Measures of agents that write free text, as tuples (row title, name of the measure, format)."""


def evaluate_beside_baselines(
    agent: str,
    game: str,
    *,
    sampling: Mapping[str, Any],
    episodes: int,
    wanted_return: float | None = None,
    step_seconds: float | None = None,
    save: Path | None = None,
    **settings: Any,
) -> list[Evaluation]:
    """Evaluate the agent and the baselines on the same games and seeds, with progress bars.

    The baselines are the random agent and the walkthrough agent. For the completion game, the only baseline is SmolLM2
    without training. A baseline that cannot play these games is left out, and a note states the reason.

    Args:
        sampling: arguments of `make_agent`, including the seed.
        wanted_return: argument of `make_agent` for the agent, but not for the baselines.
        step_seconds: argument of `games.resolve`.
        save: folder for transcripts of the episodes. Each agent has its own subfolder.
        settings: further arguments of `evaluate`.
    """
    rows, specs, left_out = [], games.resolve(game, step_seconds=step_seconds), defaultdict[str, list[str]](list)
    played = defaultdict[str, list[Episode]](list)
    baselines = ("smollm2",) if all(spec.kind == "completion" for spec in specs) else ("random", "walkthrough")
    settings |= {"game": game, "seed": sampling["seed"], "episodes": episodes}
    players = dict.fromkeys((agent, *baselines))
    record = {name: recorder(save / folder_name(name)) for name in players} if save else {}
    for name in players:
        try:
            with console.waiting(f"loading {name}"):
                own: dict[str, Any] = {"wanted_return": wanted_return} if name == agent else {"guide_beta": None}
                player = agents.make_agent(name, **{**sampling, **own}, notify=console.note)
            with console.progress(f"{name} plays", episodes) as advance:
                each = _each(played[name].append, advance, *([record[name]] if record else ()))
                row = evaluate(player, specs, on_episode=each, **settings)
            note_unknown_words(player)
        except agents.AgentError as error:
            if name == agent:
                raise
            left_out[str(error)].append(name)
        else:
            rows.append(replace(row, agent=name, trained_on=agents.games_trained_on(name, specs)))
    for reason, names in left_out.items():
        console.note(f"left out {' and '.join(names)}: {reason}")
    everything = [episode for each in played.values() for episode in each]
    for index, row in enumerate(rows):  # a game may report `won` on wins only, and only one agent may have won
        in_order = sorted(played[row.agent], key=lambda episode: episode.index)  # the bootstrap depends on the order
        success = estimate(wins(in_order, everything), unit=True, seed=sampling["seed"])
        levels = by_level(in_order, {spec.name: spec.level for spec in specs}, everything, seed=sampling["seed"])
        rows[index] = replace(row, success_rate=success, levels=levels)
    return rows


def folder_name(agent: str) -> str:
    return re.sub(r"[^\w-]+", "_", agent).strip("_") or "agent"


def _each(*functions: Callable[[Episode], object]) -> Callable[[Episode], None]:
    """Return a callback that passes an episode to each of the functions."""

    def on_episode(episode: Episode) -> None:
        for function in functions:
            function(episode)

    return on_episode


def play_card(
    document: Path, names: str | None, tasks: str | None, episodes: int, cluster: str | None, *, as_json: bool
) -> None:
    """Play those tasks of the evaluation card that have no results yet, write the card, and print all results.

    The card is written to `document`, a Markdown file. If `cluster` is the address of a Ray cluster, the tasks run
    there. `names` and `tasks` are the names of agents and tasks, separated by commas. None selects all of them.
    """
    from agents.threads import threads_per_process
    from experiments.card import rows
    from experiments.card.document import markdown
    from experiments.card.tasks import select_tasks
    from games.cluster_pool import ClusterPool
    from games.worker_pool import available_cpus

    if document.suffix != ".md":
        raise typer.BadParameter(f"--out expects NAME.md, got {document}")
    path, played, wanted = document.with_suffix(".json"), select_tasks(tasks), rows.players(names, console.note)
    cpus = threads_per_process(available_cpus())
    with (
        console.reporting("card") as report,
        console.resumable(document.parent, document.name, path.name),
        ClusterPool(cluster, document.parent, cpus=cpus, gpus=True) if cluster else nullcontext() as pool,
    ):
        for results in rows.play(path, played, wanted, episodes=episodes, progress=report, pool=pool):
            atomic_write(document, markdown(results))
    console.output(results, [f"the card is in {document}"], as_json=as_json)


def report(evaluations: Sequence[Evaluation]) -> list[RenderableType]:
    """Return what `evaluate` prints: a title, tables and notes.

    The title and the notes are not part of a table, because a narrow table would wrap them.
    """
    first, texts = evaluations[0], all(row.texts is not None for row in evaluations)
    per = "token; the last three rows have no interval; the top word is the commonest" if texts else "turn"
    trained = [f"{row.agent} was trained on {row.trained_on} of the games" for row in evaluations if row.trained_on]
    return [
        f"{first.agent} on {first.game}, {first.episodes} episodes each",
        evaluation_table(evaluations),
        *([level_table(evaluations)] if first.levels else []),
        f"below each mean its 95% interval; entropy in nats per {per}",
        *(["; ".join(trained)] if trained else []),
    ]


def evaluation_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with a column for each agent. All agents played the same games with the same seeds."""
    texts = all(row.texts is not None for row in evaluations)
    undefined = [name for name in ("reward", "bonus_share") if not any(getattr(row, name) for row in evaluations)]
    measures = TEXT_MEASURES if texts else [measure for measure in MEASURES if measure[1] not in undefined]
    table = Table(
        Column("", no_wrap=True),
        *(Column(Text(row.agent), justify="right", overflow="ellipsis") for row in evaluations),
        box=box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
    )
    for name, field, form in measures:
        table.add_row(name, *(estimate_cell(_value(row, field), form) for row in evaluations))
    table.add_row("failed", *(str(row.errors) for row in evaluations))
    return table


def level_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with a row for each level and one for all levels, and a column for each agent.

    All cells show the same measure: the success rate if any agent has one, else the score, else the reward.
    """
    name, field, form = next(measure for measure in MEASURES if any(getattr(row, measure[1]) for row in evaluations))
    agents_ = (Column(Text(row.agent), justify="right", overflow="ellipsis") for row in evaluations)
    heads = (Column("level", no_wrap=True), Column("episodes", justify="right"), *agents_)
    table = Table(*heads, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, title=f"{name} by level")
    for first in evaluations[0].levels:
        here = [next((result for result in row.levels if result.level == first.level), None) for row in evaluations]
        cells = (estimate_cell(getattr(result, field) if result else None, form) for result in here)
        table.add_row(str(first.level), str(first.episodes), *cells)
    table.add_section()
    totals = (estimate_cell(getattr(row, field), form) for row in evaluations)
    table.add_row("all", str(evaluations[0].episodes), *totals)
    return table


def _value(row: Evaluation, name: str) -> Estimate | None:
    value: Estimate | None = row.texts[name] if row.texts and name in row.texts else getattr(row, name)
    return value


def estimate_cell(estimate: Estimate | None, form: str) -> RenderableType:
    """Return a mean with its confidence interval on the next line. None becomes a dash."""
    if estimate is None:
        return Text("-", style="dim")
    text = Text(format(estimate.value, form))
    if estimate.low is not None and estimate.high is not None:
        low, high = format(estimate.low, form).rstrip("%"), format(estimate.high, form)
        text.append(f"\n{low} to {high}", style="dim")
    return text
