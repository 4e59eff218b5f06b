"""The command `evaluate`: an agent beside baselines, or its curve of obtained against wanted return."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terminal import console, evaluation, return_curve


def run(
    agent: str, game: str, wanted: Sequence[float], *, episodes: int, save: Path | None, as_json: bool, **settings: Any
) -> None:
    """Evaluate the agent beside baselines or, with several wanted returns, measure its curve. Print the results.

    `settings` are further arguments of `evaluate_beside_baselines`.
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
