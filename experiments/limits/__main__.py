"""Measure how close ACTDE, re-centred ACTDE and MPO get to a limit: `python -m experiments.limits --out docs/limits`.

The policies are tables of logits, and the limit is softmax(log pi_0 + Q^pi / tau). The results are written to
`results.json`, and `README.md` is computed from this file. A cell is the result of one learner with one torch optimizer
on one problem at one tau. Cells that are already in the file are not measured again.
"""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.protocol import AgentError
from experiments import program
from experiments.limits.report import report
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json

RESULTS, REPORT = "results.json", "README.md"
LEARNERS = {"ACTDE": ("actde", False), "re-centred": ("actde", True), "MPO": ("mpo", False)}
TAUS = (0.2, 20.0, 2.0)
"""Values of tau, divided by `MDP.scale`, in the order of the measurement."""
ROLLOUTS = {"bandit": 200, "five arms": 300, "acyclic MDPs": 500, "dilemma": 300}
TIMES = {"ACTDE": 1, "re-centred": 11, "MPO": 11}
"""Number of rollouts of each learner, as a multiple of `ROLLOUTS`.

With 11, the training continues for another ten times `ROLLOUTS`, which shows whether the policy stays where it was
after the first `ROLLOUTS`.
"""
SEED = 0


def measure(problem: str, share: float, torch_optimizer: str, learner: str) -> dict[str, Any]:
    """Train one learner on one problem, and return a dict with tau and distances from the limit (see `Curve`).

    "end" is the distance after `ROLLOUTS` rollouts. "worst" and "last" are the largest and the last distance from then
    on. "start" and "spread" are the fields of `Curve`. `share` is tau divided by `MDP.scale`.
    """
    import torch

    from actde import make_optimizer
    from experiments.limits.learner import train
    from experiments.limits.mdps import PROBLEMS

    torch.set_num_threads(1)
    name, recentre_q = LEARNERS[learner]
    mdp, rollouts = PROBLEMS[problem](torch.Generator().manual_seed(SEED)), ROLLOUTS[problem]
    curve = train(
        mdp,
        lambda config: make_optimizer(name, config),
        tau=share * mdp.scale,
        torch_optimizer=torch_optimizer,
        rollouts=rollouts,
        times=TIMES[learner],
        seed=SEED,
        recentre_q=recentre_q,
    )
    later = [distance for at, distance in zip(curve.rollouts, curve.distances, strict=True) if at >= rollouts]
    numbers = {"end": later[0], "worst": max(later), "last": later[-1], "start": curve.start, "spread": curve.spread}
    return {"tau": share * mdp.scale, **{key: float(f"{number:.3g}") for key, number in numbers.items()}}


def _place(item: tuple[str, Any]) -> tuple[int, float]:
    """Return the sort key of a cell in the report: its problem, and then its tau. `item` is a tuple (name, cell)."""
    problem, share, *_ = item[0].split(", ")
    return list(ROLLOUTS).index(problem), float(share)


def main(out: Annotated[Path, typer.Option(help="folder of README.md and results.json")]) -> None:
    """Measure the missing cells, and write the report."""
    with exclusive(out, RESULTS, REPORT):
        path = out / RESULTS
        cells = read_json(path, dict[str, dict[str, Any]], error=AgentError) if path.exists() else {}
        for share, problem, torch_optimizer, learner in product(TAUS, ROLLOUTS, ("adamw", "sgd"), LEARNERS):
            name = f"{problem}, {share}, {torch_optimizer}, {learner}"
            if name not in cells:
                cells[name] = measure(problem, share, torch_optimizer, learner)
                atomic_write(path, json.dumps(cells, indent=1) + "\n")
                typer.echo(f"{name}: {cells[name]['end']} nats, later at most {cells[name]['worst']}")
        atomic_write(out / REPORT, report(dict(sorted(cells.items(), key=_place))))


if __name__ == "__main__":
    program.run(main)
