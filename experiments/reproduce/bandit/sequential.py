"""Check whether tabular ACTDE's logits stay bounded in finite MDPs (the post's footnote 3)."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from actde.tabular import Tabular, TabularACTDE, TabularPPO
from experiments.plot_style import COLORS, PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.mdp import MDP, advance, dilemma, initial_logits, learn_on_policy, random_mdp
from experiments.reproduce.bandit.vectorized import log_spaced
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import ROUNDING, Array, above_zero, all_zero, judge, over_seeds
from games.ipd import ACTIONS

FIGURE = "bandit-sequence.svg"
CAPTION = (
    "The post's prisoner's dilemma as an MDP of two states (the past action), discount 0.5, on policy. Left: in one run"
    " of ACTDE, every logit lies where its q predicts. Right: difference of the two logits in each state, five seeds of"
    " each rule."
)
RULES: dict[str, type[Tabular]] = {"ppo": TabularPPO, "actde": TabularACTDE}


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    mdps, steps = (6, 300) if quick else (60, 5000)
    return {
        **invariant(rng, mdps, steps),
        "footnote3.endless": undiscounted(rng, mdps, steps),
        **dilemmas(rng, quick),
    }


def invariant(rng: np.random.Generator, mdps: int, steps: int) -> dict[str, Measurement]:
    """Check whether ACTDE's logits gain (b / alpha) q, and stay bounded, in random MDPs."""
    deviations, bound_shares = [], []
    for index in range(mdps):
        mdp = random_mdp(rng, discount=float(rng.choice([0.5, 0.9])), noise=float(index % 2))
        alpha, b = (float(step_size) for step_size in rng.uniform(0.05, 1, 2))
        learner = TabularACTDE(initial_logits(mdp, rng), alpha=alpha, b=b)
        q_values, logits = record_tables(learner, mdp, range(steps + 1), rng)
        changes, largest_reward = logits - logits[0], np.abs(mdp.rewards).max()
        deviations.append(float(np.abs(changes - b / alpha * q_values).max()))
        if not mdp.noise:
            bound_shares.append(float(np.abs(changes).max()) / (b / alpha * largest_reward / (1 - mdp.discount)))
    return {
        "footnote3.invariant": all_zero(deviations, count=f"{mdps}", steps=f"{steps}"),
        "footnote3.discounted": judge(max(bound_shares), max(bound_shares) > 1 + ROUNDING),
    }


def growth(learner_type: type[Tabular], mdp: MDP, rng: np.random.Generator, *, first: int, last: int) -> Array:
    """Return each state's growth of |logit 0 - logit 1| from step `first` to `last`."""
    _, logits = record_tables(make_learner(learner_type, mdp), mdp, (first, last), rng)
    first_gap, last_gap = np.abs(logits[..., 0] - logits[..., 1])
    return np.asarray(last_gap - first_gap)


def make_learner(learner_type: type[Tabular], mdp: MDP) -> Tabular:
    return learner_type(initial_logits(mdp), alpha=0.1, b=0.1)


def undiscounted(rng: np.random.Generator, runs: int, steps: int) -> Measurement:
    """With discount 1, measure how many nats per step ACTDE's logits move apart."""
    mdp = MDP(rewards=np.array([[1.0, 0.5]]), next_states=np.zeros((1, 2), dtype=np.int64), discount=1.0)
    half = steps // 2
    rates = [float(growth(TabularACTDE, mdp, rng, first=half, last=2 * half)[0]) / half for _ in range(runs)]
    return above_zero(over_seeds(rates))


def dilemmas(rng: np.random.Generator, quick: bool) -> dict[str, Measurement]:
    seeds, steps = (5, 1000) if quick else (20, 20_000)
    rows = [
        [
            float(growth(learner_type, dilemma(), rng, first=steps // 10, last=steps).max())
            for learner_type in RULES.values()
        ]
        for _ in range(seeds)
    ]
    ppo, actde = (over_seeds(values) for values in zip(*rows, strict=True))
    return {
        "footnote3.dilemma-ppo": judge(ppo, ppo["low"] > 0.5),
        "footnote3.dilemma-actde": judge(actde, actde["high"] < ppo["low"]),
    }


def draw_figure(rng: np.random.Generator, path: Path, *, quick: bool) -> None:
    steps = log_spaced(1000 if quick else 20_000)
    figure, (left, right) = make_figure()
    for name, style in (("ppo", "--"), ("actde", "-")):
        runs = [record_tables(make_learner(RULES[name], dilemma()), dilemma(), steps, rng) for _ in range(5)]
        for index, (_, logits) in enumerate(runs):
            lines = right.plot(steps, np.abs(logits[..., 0] - logits[..., 1]), style, color=COLORS[name], lw=1)
            if index == 0:
                lines[0].set_label(name.upper())
    q_values, logits = runs[0]
    q_range = (float(q_values.min()), float(q_values.max()))
    left.plot(q_range, q_range, color="0.6", lw=1)
    for index, marker in enumerate("os^D"):
        past, present = divmod(index, 2)
        label, color = f"{ACTIONS[present]} after {ACTIONS[past]}", PALETTE[index]
        left.plot(
            q_values[:, past, present], logits[:, past, present], marker, color=color, ms=4, mfc="none", label=label
        )
    left.set(xlabel="(b / alpha) (q − q_0)", ylabel="logit − logit_0, nats")
    right.set(xscale="log", xlabel="steps", ylabel="|difference of the logits|, nats")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def record_tables(
    learner: Tabular, mdp: MDP, record_steps: Iterable[int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Train a learner. Return q-values and logits at `record_steps`, each [steps, states, actions]."""
    errors, rows = learn_on_policy(learner, mdp, rng), []
    for previous, step in pairwise([0, *record_steps]):
        advance(errors, step - previous)
        rows.append([[list(row.values()) for row in table.values()] for table in (learner.q_values, learner.logits)])
    q_values, logits = np.array(rows).swapaxes(0, 1)
    return q_values, logits
