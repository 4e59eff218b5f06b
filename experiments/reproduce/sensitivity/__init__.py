"""Part `sensitivity`: what ACTDE's results in the prisoner's dilemma depend on, which the post states without figures.

A grid of whitening, detached heads and the value loss, and single changes of the recipe over 10,000 steps, which ask
whether the drift from alternating belongs to ACTDE or to the recipe. Trials are compared in pairs: trial i of every
arm begins with the same weights. Like part `ipd`, it goes on where it was stopped.
"""

from pathlib import Path

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd import drawing
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, PPO, Series, quickened, series
from experiments.reproduce.sensitivity import ablations, factors

QUICK_STEPS = 20
GRID_FIGURE, ABLATIONS_FIGURE = "sensitivity-grid.svg", "sensitivity-ablations.svg"
SECTION = factors.SECTION


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """All findings and figures: some hours of two cores, or a quarter of a minute if `quick`."""
    wanted = [ACTDE, PPO, *GRID, *ABLATIONS]
    arms = quickened(wanted, QUICK_STEPS) if quick else wanted
    found = series(arms, folder, seed=seed, quick=quick, workers=workers, progress=progress)
    findings: list[Finding] = [*factors.findings(found), *ablations.findings(found)]
    notes = [*factors.notes(found), *ablations.notes(found)]
    own = sum(one.seconds for name, one in found.items() if name not in (ACTDE.name, PPO.name))
    return Outcome(findings, {SECTION: _figures(found, folder)}, {SECTION: notes}, own)


def _figures(found: dict[str, Series], folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for name, arms, what, until in (
        (GRID_FIGURE, GRID, "whitening, detached heads and the value loss", factors.STEPS),
        (ABLATIONS_FIGURE, ABLATIONS, "single changes of the recipe", ablations.STEPS),
    ):
        names = [ACTDE.name, *(arm.name for arm in arms), *([PPO.name] if arms is ABLATIONS else [])]
        panels = [(one.removeprefix("actde-"), found[one].until(until)) for one in names if found[one].trials]
        if panels:
            drawing.fan(folder / name, panels, columns=4)
            caption = f"ACTDE with {what}: the share of alternating games, thin in each trial, thick in the mean."
            pairs.append((name, f"{caption} Dotted: uniform."))
    return pairs
