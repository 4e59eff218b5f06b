"""Measure how far policies are from softmax(log pi_0 + Q^pi / tau): `python -m experiments.limits --out docs/limits`.

pi_0 is the initial policy.
"""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.protocol import AgentError
from experiments import program
from experiments.tables import table
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json

RESULTS, REPORT = "results.json", "README.md"
# Optimizer, `recentre_q`, and number of rollouts as a multiple of `ROLLOUTS`. With 11, the training continues for ten
# times `ROLLOUTS`, which shows whether the policy stays where it was after the first `ROLLOUTS`.
LEARNERS = {"ACTDE": ("actde", False, 1), "re-centred": ("actde", True, 11), "MPO": ("mpo", False, 11)}
TAUS = (0.2, 20.0, 2.0)  # divided by `MDP.scale`, in the order of the measurement
ROLLOUTS = {"bandit": 200, "five arms": 300, "acyclic MDPs": 500, "dilemma": 300}
TOLERANCE = 0.01  # nats, the largest distance at which a policy counts as being at the limit
TEXT = """# Where ACTDE, re-centred ACTDE and MPO end, on tables

    python -m experiments.limits --out docs/limits  # needs a quiet machine

Tables of logits, v and q learn from sampled rollouts by the losses of `actde`, with the gradient of log pi. A cell is
the distance of the policy from softmax(log pi_0 + Q^pi / tau), in nats. Q^pi is computed exactly from the policy, by
solving Bellman's equation; the learned q does not enter. The distance is the larger of the two KL divergences, in the
state and problem in which it is largest. The first number is the distance at the end of the training. The second is
the largest distance from then until the end of ten times as many further rollouts, which ACTDE did not play. Distances
above {within} are bold. An empty cell is not measured yet.

`pi_0` is the distance of the initial policy from the limit. Where it is below {within}, compare a cell with it.
`spread / tau` is the largest difference between the Q^pi of two actions of a state, divided by tau.

{table}

{summary}

## Settings

Seed 0. Each row has six problems that learn independently, with different pi_0 (the random MDPs also differ in rewards
and transitions), and 64 episodes each per rollout. There is one gradient step per rollout. lambda is 0, and rewards
have noise with a standard deviation of 0.2 (bandit: 0.1). v and q start at V^(pi_0). Trainings last 200 (bandit), 300
(five arms, dilemma) and 500 rollouts (random MDPs). The first step is 0.5 of the error (sgd) or 0.1 (adamw, in nats
for the logits, times tau for v and q). It decays as 1 / (1 + 4 t / T), where T is the length of the training. The
steps of q are tau times those of the logits, which is the temperature of tabular ACTDE. `pi_0` and `spread / tau` are
those of re-centred ACTDE.
"""


def measure(problem: str, tau_over_scale: float, torch_optimizer: str, learner: str) -> dict[str, Any]:
    """Train one learner on one problem. `tau_over_scale` is tau divided by `MDP.scale`.

    The result contains tau, `Curve.spread`, and distances from the limit in nats:

    * "start": the distance of the initial policy
    * "end": the distance after `ROLLOUTS` rollouts
    * "worst": the largest distance from "end" to "last"
    * "last": the distance after the last rollout
    """
    import torch

    from actde import make_optimizer
    from experiments.limits.learner import CHECKS, train
    from experiments.limits.mdps import PROBLEMS

    torch.set_num_threads(1)
    name, recentre_q, length_factor = LEARNERS[learner]
    mdp = PROBLEMS[problem](torch.Generator().manual_seed(0))
    curve = train(
        mdp,
        lambda config: make_optimizer(name, config),
        tau=tau_over_scale * mdp.scale,
        torch_optimizer=torch_optimizer,
        rollouts=ROLLOUTS[problem],
        length_factor=length_factor,
        recentre_q=recentre_q,
    )
    final_distances = curve.distances[CHECKS - 1 :]
    numbers = {
        "end": final_distances[0],
        "worst": max(final_distances),
        "last": final_distances[-1],
        "start": curve.initial_distance,
        "spread": curve.spread,
    }
    return {"tau": tau_over_scale * mdp.scale, **{key: float(f"{number:.3g}") for key, number in numbers.items()}}


def report(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report. `cells` has keys such as "bandit, 0.2, adamw, MPO"."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, cell in cells.items():
        key, learner = name.rsplit(", ", 1)
        rows.setdefault(key, {})[learner] = cell
    headers = ["problem", "tau", "torch optimizer", "spread / tau", "pi_0", *LEARNERS]
    lines = table(headers, (_line(key, row) for key, row in rows.items()))
    return TEXT.format(within=TOLERANCE, table=lines, summary=_summary(cells))


def _line(key: str, row: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problem, _, torch_optimizer = key.split(", ")
    limit_cell = row.get("re-centred") or next(iter(row.values()))  # its limit is that of the last policy
    cells = [_cell(row[learner], later=learner != "ACTDE") if learner in row else "" for learner in LEARNERS]
    return [
        problem,
        f"{limit_cell['tau']:.3g}",
        torch_optimizer,
        f"{limit_cell['spread']:.2g}",
        f"{limit_cell['start']:.2g}",
        *cells,
    ]


def _cell(cell: Mapping[str, Any], *, later: bool) -> str:
    numbers = (cell["end"], cell["worst"]) if later else (cell["end"],)
    return ", ".join(f"**{x:.2g}**" if x > TOLERANCE else f"{x:.2g}" for x in numbers)


def _summary(cells: Mapping[str, Mapping[str, Any]]) -> str:
    sentences = []
    for learner in LEARNERS:
        learner_cells = [cell for name, cell in cells.items() if name.endswith(f", {learner}")]
        within_tolerance = sum(max(cell["end"], cell["worst"]) <= TOLERANCE for cell in learner_cells)
        verb = "ends" if learner == "ACTDE" else "ends and stays"
        sentences.append(
            f"* {learner} {verb} within {TOLERANCE} nats in {within_tolerance} of {len(learner_cells)} rows."
        )
    return "\n".join(sentences)


def _row_position(item: tuple[str, Any]) -> tuple[int, float]:
    problem, tau_over_scale, *_ = item[0].split(", ")
    return list(ROLLOUTS).index(problem), float(tau_over_scale)


def main(out: Annotated[Path, typer.Option(help="folder of README.md and results.json")]) -> None:
    """Measure the missing cells, and write the report."""
    with exclusive(out, RESULTS, REPORT):
        path = out / RESULTS
        cells = read_json(path, dict[str, dict[str, Any]], error=AgentError) if path.exists() else {}
        for tau_over_scale, problem, torch_optimizer, learner in product(TAUS, ROLLOUTS, ("adamw", "sgd"), LEARNERS):
            name = f"{problem}, {tau_over_scale}, {torch_optimizer}, {learner}"
            if name not in cells:
                cells[name] = measure(problem, tau_over_scale, torch_optimizer, learner)
                atomic_write(path, json.dumps(cells, indent=1) + "\n")
                typer.echo(f"{name}: {cells[name]['end']} nats, later at most {cells[name]['worst']}")
        atomic_write(out / REPORT, report(dict(sorted(cells.items(), key=_row_position))))


if __name__ == "__main__":
    program.run(main)
