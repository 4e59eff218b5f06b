"""The report of the study, computed from its results."""

from collections.abc import Mapping
from typing import Any

from experiments.tables import table

WITHIN = 0.01
"""The largest distance, in nats, at which a policy counts as being at the limit."""
LEARNERS = ("ACTDE", "re-centred", "MPO")
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


def report(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report.

    `cells` maps "problem, tau / scale, torch optimizer, learner" to the result of `__main__.measure`.
    """
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, cell in cells.items():
        key, learner = name.rsplit(", ", 1)
        rows.setdefault(key, {})[learner] = cell
    heads = ["problem", "tau", "torch optimizer", "spread / tau", "pi_0", *LEARNERS]
    lines = [_line(key, row) for key, row in rows.items()]
    return TEXT.format(within=WITHIN, table=table(heads, lines), summary=_summary(cells))


def _line(key: str, row: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problem, _, torch_optimizer = key.split(", ")
    some = row.get("re-centred") or next(iter(row.values()))  # its limit is that of the last policy
    cells = [_cell(row[learner], later=learner != "ACTDE") if learner in row else "" for learner in LEARNERS]
    return [problem, f"{some['tau']:.3g}", torch_optimizer, f"{some['spread']:.2g}", f"{some['start']:.2g}", *cells]


def _cell(cell: Mapping[str, Any], *, later: bool) -> str:
    numbers = (cell["end"], cell["worst"]) if later else (cell["end"],)
    return ", ".join(f"**{x:.2g}**" if x > WITHIN else f"{x:.2g}" for x in numbers)


def _summary(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a sentence for each learner about the number of rows in which its policy reaches the limit.

    In such a row, the distance from the limit is at most `WITHIN` at the end of the training, and stays so afterwards.
    """
    sentences = []
    for learner in LEARNERS:
        own = [cell for name, cell in cells.items() if name.endswith(f", {learner}")]
        stay = sum(max(cell["end"], cell["worst"]) <= WITHIN for cell in own)
        verb = "ends" if learner == "ACTDE" else "ends and stays"
        sentences.append(f"* {learner} {verb} within {WITHIN} nats in {stay} of {len(own)} rows.")
    return "\n".join(sentences)
