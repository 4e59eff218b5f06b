"""The command `evaluate`: compare an agent with baselines, or measure the return it obtains for each wanted return."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terminal import console, evaluation, return_curve


def run(
    agent: str, game: str, wanted: Sequence[float], *, episodes: int, save: Path | None, as_json: bool, **settings: Any
) -> None:
    """Evaluate the agent and baselines, and print the results.

    `wanted` holds the returns that the agent is asked for. If there are several, leave out the baselines, and measure
    the return that the agent obtains for each of them. `settings` are further arguments of `evaluate_beside_baselines`.
    """
    settings |= {"episodes": episodes, "save": save and save.absolute()}
    if len(wanted) > 1:
        points = return_curve.measure(agent, game, wanted, **settings)
        about = agent, game, episodes, points
        console.output(return_curve.to_json(*about), return_curve.report(*about), as_json=as_json)
    else:
        rows = evaluation.evaluate_beside_baselines(agent, game, wanted_return=next(iter(wanted), None), **settings)
        console.output([row.to_json() for row in rows], evaluation.report(rows), as_json=as_json)
    console.note_saved(save)
