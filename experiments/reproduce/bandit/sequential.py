"""Check whether tabular ACTDE's logits stay bounded in finite MDPs (footnote 3 of the post).

`actde/tabular.py` proves that they do if the discount is below 1.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from actde.tabular import Tabular, TabularACTDE, TabularPPO
from experiments.plot_style import COLORS, PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.mdp import MDP, advance, dilemma, initial_logits, learn_on_policy, random_mdp
from experiments.reproduce.bandit.vectorized import log_spaced
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import SAME, Array, above_zero, all_zero, judge, over_seeds
from games.ipd import ACTIONS

FIGURE = "bandit-sequence.svg"
CAPTION = (
    "The post's prisoner's dilemma as an MDP of two states (the past action), discount 0.5, on policy. Left: in one run"
    " of ACTDE, every logit lies where its q predicts. Right: difference of the two logits in each state, five seeds of"
    " each rule."
)
RULES: dict[str, type[Tabular]] = {"ppo": TabularPPO, "actde": TabularACTDE}


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    count, steps = (6, 300) if quick else (60, 5000)
    return {**invariant(rng, count, steps), "footnote3.endless": endless(rng, count, steps), **dilemmas(rng, quick)}


def invariant(rng: np.random.Generator, count: int, steps: int) -> dict[str, Measurement]:
    """Check the equation and the bound of `actde/tabular.py` in `count` random MDPs."""
    deviations, used = [], []
    for place in range(count):
        mdp = random_mdp(rng, discount=float(rng.choice([0.5, 0.9])), noise=float(place % 2))
        alpha, b = (float(size) for size in rng.uniform(0.05, 1, 2))
        learner = TabularACTDE(initial_logits(mdp, rng), alpha=alpha, b=b)
        q_values, logits = tables_at(learner, mdp, range(steps + 1), rng)
        moved, most = logits - logits[0], np.abs(mdp.rewards).max()
        deviations.append(float(np.abs(moved - b / alpha * q_values).max()))
        if not mdp.noise:
            used.append(float(np.abs(moved).max()) / (b / alpha * most / (1 - mdp.discount)))
    return {
        "footnote3.invariant": all_zero(deviations, count=f"{count}", steps=f"{steps}"),
        "footnote3.discounted": judge(max(used), max(used) > 1 + SAME),
    }


def growth(kind: type[Tabular], mdp: MDP, rng: np.random.Generator, *, first: int, steps: int) -> Array:
    """Return for each state how much its two logits move apart from step `first` to `steps`."""
    _, logits = tables_at(learner_of(kind, mdp), mdp, (first, steps), rng)
    before, after = np.abs(logits[..., 0] - logits[..., 1])
    return np.asarray(after - before)


def learner_of(kind: type[Tabular], mdp: MDP) -> Tabular:
    return kind(initial_logits(mdp), alpha=0.1, b=0.1)


def endless(rng: np.random.Generator, count: int, steps: int) -> Measurement:
    """Measure how fast ACTDE's logits move apart without discount, in nats per step."""
    mdp = MDP(rewards=np.array([[1.0, 0.5]]), next_states=np.zeros((1, 2), dtype=np.int64), discount=1.0)
    half = steps // 2
    rates = [float(growth(TabularACTDE, mdp, rng, first=half, steps=2 * half)[0]) / half for _ in range(count)]
    return above_zero(over_seeds(rates))


def dilemmas(rng: np.random.Generator, quick: bool) -> dict[str, Measurement]:
    seeds, steps = (5, 1000) if quick else (20, 20_000)
    rows = [
        [float(growth(kind, dilemma(), rng, first=steps // 10, steps=steps).max()) for kind in RULES.values()]
        for _ in range(seeds)
    ]
    ppo, actde = (over_seeds(values) for values in zip(*rows, strict=True))
    return {
        "footnote3.dilemma-ppo": judge(ppo, ppo["low"] > 0.5),
        "footnote3.dilemma-actde": judge(actde, actde["high"] < ppo["low"]),
    }


def figure(rng: np.random.Generator, path: Path, *, quick: bool) -> None:
    steps = log_spaced(1000 if quick else 20_000)
    drawing, (left, right) = make_figure()
    for name, style in (("ppo", "--"), ("actde", "-")):
        runs = [tables_at(learner_of(RULES[name], dilemma()), dilemma(), steps, rng) for _ in range(5)]
        for place, (_, logits) in enumerate(runs):
            lines = right.plot(steps, np.abs(logits[..., 0] - logits[..., 1]), style, color=COLORS[name], lw=1)
            if place == 0:
                lines[0].set_label(name.upper())
    q_values, logits = runs[0]
    ends = (float(q_values.min()), float(q_values.max()))
    left.plot(ends, ends, color="0.6", lw=1)
    for place, marker in enumerate("os^D"):
        before, now = divmod(place, 2)
        label, color = f"{ACTIONS[now]} after {ACTIONS[before]}", PALETTE[place]
        left.plot(q_values[:, before, now], logits[:, before, now], marker, color=color, ms=4, mfc="none", label=label)
    left.set(xlabel="(b / alpha) (q − q_0)", ylabel="logit − logit_0, nats")
    right.set(xscale="log", xlabel="steps", ylabel="|difference of the logits|, nats")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    save_figure(drawing, path)


def tables_at(learner: Tabular, mdp: MDP, at: Iterable[int], rng: np.random.Generator) -> tuple[Array, Array]:
    """Train a learner. Return its q-values and logits [T, S, A] at the T steps in `at`."""
    errors, rows = learn_on_policy(learner, mdp, rng), []
    for before, now in pairwise([0, *at]):
        advance(errors, now - before)
        rows.append([[list(row.values()) for row in table.values()] for table in (learner.q_values, learner.logits)])
    q_values, logits = np.array(rows).swapaxes(0, 1)
    return q_values, logits
