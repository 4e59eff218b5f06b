"""The command `evaluate`: evaluate agents, and print tables of the results."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
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

# title of the row, name of the measure, format
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A target return, and an agent's mean return and success rate for this target."""

    wanted_return: float
    obtained: Estimate
    success_rate: Estimate | None


def run(
    agent: str,
    game: str,
    target_returns: Sequence[float],
    *,
    episodes: int,
    save: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Evaluate an agent beside baselines or at several target returns, and print the results."""
    settings |= {"episodes": episodes, "save": save and save.absolute()}
    if len(target_returns) > 1:
        points = measure_returns(agent, game, target_returns, **settings)
        document = {"agent": agent, "game": game, "episodes": episodes, "curve": [asdict(point) for point in points]}
        title = f"{agent} on {game}, {episodes} episodes for each wanted return"
        console.output(document, [title, *return_table(points)], as_json=as_json)
    else:
        rows = evaluate_beside_baselines(agent, game, wanted_return=next(iter(target_returns), None), **settings)
        console.output([row.to_json() for row in rows], report(rows), as_json=as_json)
    console.note_saved(save)


def evaluate_beside_baselines(
    agent: str,
    game: str,
    *,
    sampling: Mapping[str, Any],
    wanted_return: float | None = None,
    step_seconds: float | None = None,
    save: Path | None = None,
    **settings: Any,
) -> list[Evaluation]:
    """Evaluate an agent and baselines on the same games and seeds. Skip baselines that cannot play the games."""
    rows, specs, left_out = [], games.resolve(game, step_seconds=step_seconds), defaultdict[str, list[str]](list)
    played_episodes = defaultdict[str, list[Episode]](list)
    baselines = ("smollm2",) if all(spec.kind == "completion" for spec in specs) else ("random", "walkthrough")
    settings |= {"game": game, "seed": sampling["seed"]}
    players = dict.fromkeys((agent, *baselines))
    recorders = {name: recorder(save / folder_name(name)) for name in players} if save else {}
    for name in players:
        try:
            with console.waiting(f"loading {name}"):
                options: dict[str, Any] = {"wanted_return": wanted_return} if name == agent else {"guide_beta": None}
                player = agents.make_agent(name, **{**sampling, **options}, notify=console.note)
            row = _play(player, specs, f"{name} plays", played_episodes[name], recorders.get(name), **settings)
            note_unknown_words(player)
        except agents.AgentError as error:
            if name == agent:
                raise
            left_out[str(error)].append(name)
        else:
            rows.append(replace(row, agent=name, trained_on=agents.games_trained_on(name, specs)))
    for reason, names in left_out.items():
        console.note(f"left out {' and '.join(names)}: {reason}")
    all_episodes = [episode for player_episodes in played_episodes.values() for episode in player_episodes]
    for index, row in enumerate(rows):  # a game may report `won` on wins only, and only one agent may have won
        # the bootstrap depends on the order
        episodes = sorted(played_episodes[row.agent], key=lambda episode: episode.index)
        success = estimate(wins(episodes, all_episodes), unit=True, seed=sampling["seed"])
        levels = by_level(episodes, {spec.name: spec.level for spec in specs}, all_episodes, seed=sampling["seed"])
        rows[index] = replace(row, success_rate=success, levels=levels)
    return rows


def measure_returns(
    agent: str,
    game: str,
    target_returns: Sequence[float],
    *,
    sampling: Mapping[str, Any],
    step_seconds: float | None = None,
    save: Path | None = None,
    **settings: Any,
) -> list[Point]:
    """Evaluate an agent at each target return, on the same games and seeds."""
    points, specs = [], games.resolve(game, step_seconds=step_seconds)
    settings |= {"game": game, "seed": sampling["seed"]}
    for target_return in sorted(set(target_returns)):
        player = agents.make_agent(agent, **sampling, wanted_return=target_return, notify=console.note)
        episodes, record = list[Episode](), recorder(save / folder_name(f"wanted {target_return:g}")) if save else None
        row = _play(player, specs, f"wanted return {target_return:g}", episodes, record, **settings)
        episodes.sort(key=lambda episode: episode.index)  # the bootstrap depends on the order
        obtained = estimate([episode.reward for episode in episodes], seed=sampling["seed"])
        assert obtained is not None
        points.append(Point(wanted_return=target_return, obtained=obtained, success_rate=row.success_rate))
    return points


def _play(
    player: agents.Agent,
    specs: Sequence[games.GameSpec],
    description: str,
    played_episodes: list[Episode],
    record: Callable[[Episode], None] | None,
    *,
    episodes: int,
    **settings: Any,
) -> Evaluation:
    """Evaluate an agent, and append its episodes to `played_episodes`."""
    with console.progress(description, episodes) as advance:

        def on_episode(episode: Episode) -> None:
            played_episodes.append(episode)
            advance(episode)
            if record:
                record(episode)

        return evaluate(player, specs, episodes=episodes, on_episode=on_episode, **settings)


def folder_name(agent: str) -> str:
    return re.sub(r"[^\w-]+", "_", agent).strip("_") or "agent"


def play_card(
    document: Path, names: str | None, tasks: str | None, episodes: int, cluster: str | None, *, as_json: bool
) -> None:
    """Evaluate agents on a fixed set of tasks, and write the results to the Markdown file `document`."""
    from agents.threads import threads_per_process
    from experiments.card import rows
    from experiments.card.document import markdown
    from experiments.card.tasks import select_tasks
    from games.cluster_pool import ClusterPool
    from games.worker_pool import available_cpus

    if document.suffix != ".md":
        raise typer.BadParameter(f"--out expects NAME.md, got {document}")
    path, card_tasks, players = document.with_suffix(".json"), select_tasks(tasks), rows.players(names, console.note)
    cpus = threads_per_process(available_cpus())
    with (
        console.reporting("card") as report,
        console.resumable(document.parent, document.name, path.name),
        ClusterPool(cluster, document.parent, cpus=cpus, gpus=True) if cluster else nullcontext() as pool,
    ):
        for results in rows.play(path, card_tasks, players, episodes=episodes, progress=report, pool=pool):
            atomic_write(document, markdown(results))
    console.output(results, [f"the card is in {document}"], as_json=as_json)


def report(evaluations: Sequence[Evaluation]) -> list[RenderableType]:
    first, is_text = evaluations[0], all(row.texts is not None for row in evaluations)
    unit = "token; the last three rows have no interval; the top word is the commonest" if is_text else "turn"
    trained = [f"{row.agent} was trained on {row.trained_on} of the games" for row in evaluations if row.trained_on]
    return [  # a narrow table would wrap a title and notes of its own
        f"{first.agent} on {first.game}, {first.episodes} episodes each",
        evaluation_table(evaluations),
        *([level_table(evaluations)] if first.levels else []),
        f"below each mean its 95% interval; entropy in nats per {unit}",
        *(["; ".join(trained)] if trained else []),
    ]


def evaluation_table(evaluations: Sequence[Evaluation]) -> Table:
    is_text = all(row.texts is not None for row in evaluations)
    undefined = [name for name in ("reward", "bonus_share") if not any(getattr(row, name) for row in evaluations)]
    table = _table(Column("", no_wrap=True), *_columns(evaluations))
    for name, field, form in TEXT_MEASURES if is_text else MEASURES:
        if is_text or field not in undefined:
            values = ((row.texts or {}).get(field) or getattr(row, field) for row in evaluations)
            table.add_row(name, *(estimate_cell(value, form) for value in values))
    table.add_row("failed", *(str(row.errors) for row in evaluations))
    return table


def level_table(evaluations: Sequence[Evaluation]) -> Table:
    name, field, form = next(measure for measure in MEASURES if any(getattr(row, measure[1]) for row in evaluations))
    headings = (Column("level", no_wrap=True), Column("episodes", justify="right"), *_columns(evaluations))
    table = _table(*headings, title=f"{name} by level")
    for level in evaluations[0].levels:
        level_results = [
            next((result for result in row.levels if result.level == level.level), None) for row in evaluations
        ]
        cells = (estimate_cell(getattr(result, field) if result else None, form) for result in level_results)
        table.add_row(str(level.level), str(level.episodes), *cells)
    table.add_section()
    totals = (estimate_cell(getattr(row, field), form) for row in evaluations)
    table.add_row("all", str(evaluations[0].episodes), *totals)
    return table


def _columns(evaluations: Sequence[Evaluation]) -> list[Column]:
    return [Column(Text(row.agent), justify="right", overflow="ellipsis") for row in evaluations]


def _table(*columns: Column, title: str | None = None) -> Table:
    return Table(*columns, title=title, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def return_table(points: Sequence[Point]) -> list[RenderableType]:
    table = _table(*(Column(name, justify="right") for name in ("wanted return", "obtained return", "success")))
    for point in points:
        cells = estimate_cell(point.obtained, "z.2f"), estimate_cell(point.success_rate, "z.0%")
        table.add_row(f"{point.wanted_return:g}", *cells)
    return [table, "below each mean its 95% interval; no interval if all episodes are equal"]


def estimate_cell(estimate: Estimate | None, form: str) -> RenderableType:
    """Return a mean with its confidence interval on the next line."""
    if estimate is None:
        return Text("-", style="dim")
    text = Text(format(estimate.value, form))
    if estimate.low is not None and estimate.high is not None:
        low, high = format(estimate.low, form).rstrip("%"), format(estimate.high, form)
        text.append(f"\n{low} to {high}", style="dim")
    return text
