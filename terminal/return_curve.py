"""Measure the return that an agent obtains for each wanted return (`evaluate` with several `--wanted-return`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table

import agents
import games
from agents.play.episode import Episode
from agents.play.evaluate import Estimate, estimate, evaluate
from agents.play.transcript import recorder
from terminal import console
from terminal.evaluation import estimate_cell, folder_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The results of an agent for one wanted return. `obtained` is the mean undiscounted return of its episodes."""

    wanted_return: float
    obtained: Estimate
    success_rate: Estimate | None


def measure(
    agent: str,
    game: str,
    wanted: Sequence[float],
    *,
    sampling: Mapping[str, Any],
    episodes: int,
    step_seconds: float | None = None,
    save: Path | None = None,
    **settings: Any,
) -> list[Point]:
    """Play the same games and seeds once for each wanted return. Return one point for each, in increasing order.

    The other arguments are those of `evaluate_beside_baselines`, except that `save` gets a subfolder for each wanted
    return.
    """
    points, specs = [], games.resolve(game, step_seconds=step_seconds)
    for value in sorted(set(wanted)):
        player = agents.make_agent(agent, **sampling, wanted_return=value, notify=console.note)
        played, record = list[Episode](), recorder(save / folder_name(f"wanted {value:g}")) if save else None
        with console.progress(f"wanted return {value:g}", episodes) as advance:

            def keep(episode: Episode, played: list[Episode] = played, record: Any = record) -> None:
                played.append(episode)
                advance(episode)
                if record is not None:
                    record(episode)

            given = {"game": game, "seed": sampling["seed"], "episodes": episodes, "on_episode": keep}
            row = evaluate(player, specs, **given, **settings)
        played.sort(key=lambda episode: episode.index)  # the bootstrap depends on the order
        obtained = estimate([episode.reward for episode in played], seed=sampling["seed"])
        assert obtained is not None
        points.append(Point(wanted_return=value, obtained=obtained, success_rate=row.success_rate))
    return points


def to_json(agent: str, game: str, episodes: int, points: Sequence[Point]) -> dict[str, Any]:
    return {"agent": agent, "game": game, "episodes": episodes, "curve": [asdict(point) for point in points]}


def report(agent: str, game: str, episodes: int, points: Sequence[Point]) -> list[RenderableType]:
    """Return a title, a table with a row for each wanted return, and a note."""
    heads = ("wanted return", "obtained return", "success")
    table = Table(
        *(Column(name, justify="right") for name in heads), box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False
    )
    for point in points:
        cells = estimate_cell(point.obtained, "z.2f"), estimate_cell(point.success_rate, "z.0%")
        table.add_row(f"{point.wanted_return:g}", *cells)
    note = "below each mean its 95% interval; no interval if all episodes are equal"
    return [f"{agent} on {game}, {episodes} episodes for each wanted return", table, note]
