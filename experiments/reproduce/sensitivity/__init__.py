"""Part `sensitivity`: measure which training settings change ACTDE's results in the iterated prisoner's dilemma.

The post by Turner and Einhorn (2023) says that the results are sensitive to variations but shows no figures of them.
Two experiments test this. The first is a grid over whitened advantages, detached heads and the value loss, with 4,000
gradient steps. The second changes a few settings of the post's recipe, such as dropout, and trains for 10,000 steps.
The second experiment tests whether ACTDE or the recipe causes the drift from alternating towards the uniform policy.
"""

from collections.abc import Mapping
from pathlib import Path

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import SENSITIVITY, judged
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, PPO, Series, run_arms, shortened
from experiments.reproduce.ipd.drawing import plot_trials
from experiments.reproduce.sensitivity import ablations, factors

QUICK_STEPS = 20


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Run the missing trials. A full run takes some hours on two cores, and a quick run half a minute."""
    arms = [ACTDE, PPO, *GRID, *ABLATIONS]
    arms = shortened(arms, QUICK_STEPS) if quick else arms
    curves = run_arms(arms, folder, seed=seed, quick=quick, workers=workers, cluster=cluster, progress=progress)
    findings = judged("sensitivity", factors.measure(curves) | ablations.measure(curves))
    notes = [*factors.notes(curves), *ablations.notes(curves)]
    seconds = sum(one.seconds for name, one in curves.items() if name not in (ACTDE.name, PPO.name))
    return Outcome(findings, {SENSITIVITY: _figures(curves, folder)}, {SENSITIVITY: notes}, seconds)


def _figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for name, arms, what, until in (
        ("sensitivity-grid.svg", [ACTDE, *GRID], "whitening, detached heads and the value loss", factors.STEPS),
        ("sensitivity-ablations.svg", [ACTDE, *ABLATIONS, PPO], "single changes of the recipe", ablations.STEPS),
    ):
        drawn = {arm.name.removeprefix("actde-"): curves[arm.name].until(until) for arm in arms}
        if panels := [(title, one) for title, one in drawn.items() if one.trials]:
            plot_trials(folder / name, panels, columns=4)
            caption = f"ACTDE with {what}: the share of alternating games. Thin lines: trials. Thick lines: means."
            pairs.append((name, f"{caption} Dotted: uniform."))
    return pairs
