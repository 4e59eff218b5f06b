"""Footnote 3: does ACTDE's reinforcement stay finite where actions have consequences? Tables, any finite MDP.

The ledger of actde/tabular.py says yes for a discount below 1: every logit is the initial one plus b / alpha times
what q moved, and q is bounded. Without a discount and without an end q is not, and then neither are logits. Here both
are seen at work.
"""

from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actde.tabular import Tabular, TabularACTDE, TabularPPO
from experiments.plot_style import COLORS, PALETTE, make_figure, save_figure
from experiments.reproduce import finding
from experiments.reproduce.bandit.lanes import moments
from experiments.reproduce.bandit.mdp import MDP, Logits, dilemma, random_mdp, start, take, walk
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds
from games.ipd import ACTIONS

SECTION = "Footnote 3: the sequential tabular case"
SAME = 1e-9
FIGURE = "bandit-sequence.svg"
CAPTION = (
    "The post's prisoner's dilemma as an MDP of two states (the action before), discount 0.5, on policy. Left: in one"
    " run of ACTDE every logit stays where its q puts it. Right: difference of the two logits in each state, five seeds"
    " of each rule."
)


def findings(rng: np.random.Generator, *, quick: bool) -> list[Finding]:
    count, steps = (6, 300) if quick else (60, 5000)
    return [*ledger(rng, count, steps), endless(rng, count, steps), *dilemmas(rng, quick)]


def ledger(rng: np.random.Generator, count: int, steps: int) -> list[Finding]:
    """Random MDPs, step sizes, initial policies and tables: the identity, and how much of its bound is used."""
    off, used = [], []
    for place in range(count):
        mdp = random_mdp(rng, discount=float(rng.choice([0.5, 0.9])), noise=float(place % 2))
        alpha, b = (float(size) for size in rng.uniform(0.05, 1, 2))
        logits, most = start(mdp, rng), np.abs(mdp.rewards).max()
        learner = TabularACTDE(logits, alpha=alpha, b=b)
        kept = [movements(learner, logits) for _ in islice(walk(learner, mdp, rng), steps)]
        moved, q_values = np.array(kept).swapaxes(0, 1)
        off.append(float(np.abs(moved - b / alpha * q_values).max()))
        if not mdp.noise:
            used.append(float(np.abs(moved).max()) / (b / alpha * most / (1 - mdp.discount)))
    return [
        finding.claim(
            "bandit.footnote3.ledger",
            "At every moment logit - logit_0 = (b / alpha) (q - q_0), in any MDP (largest deviation over random ones"
            " and all their steps).",
            section=SECTION,
            of_post=False,
            ours=max(off),
            holds=max(off) < SAME,
            criterion=f"In none of {count} random MDPs, at no step of {steps} on policy, is a logit off by {SAME:g}.",
        ),
        finding.claim(
            "bandit.footnote3.discounted",
            "Possibly infinite logit updating can still happen in the sequential case: at a discount below 1"
            " (largest movement of a logit, in units of its bound (b / alpha) max |r| / (1 - discount)).",
            section=SECTION,
            ours=max(used),
            holds=max(used) > 1 + SAME,
            criterion="In a random MDP without noise a logit moves further than the bound at some step.",
        ),
    ]


def movements(learner: TabularACTDE, logits: Logits) -> tuple[list[float], list[float]]:
    """What every logit moved by since `logits`, nats, and every q since 0, units of reward."""
    entries = [(state, action) for state, row in logits.items() for action in row]
    moved = [learner.logits[state][action] - logits[state][action] for state, action in entries]
    return moved, [learner.q_values[state][action] for state, action in entries]


def endless(rng: np.random.Generator, count: int, steps: int) -> Finding:
    """One state that leads to itself, without a discount: q has no bound, and what was tried last is ahead."""
    mdp = MDP(rewards=np.array([[1.0, 0.5]]), follows=np.zeros((1, 2), dtype=np.int64), discount=1.0)
    growth = []
    for _ in range(count):
        learner = TabularACTDE(start(mdp), alpha=0.1, b=0.1)
        errors = walk(learner, mdp, rng)
        take(errors, steps // 2)
        before = gaps(learner)[0]
        take(errors, steps // 2)
        growth.append((gaps(learner)[0] - before) / (steps // 2))
    band = over_seeds(growth)
    return finding.claim(
        "bandit.footnote3.endless",
        "... and without a discount and without an end (growth of the logits' difference per step, one state, rewards"
        " 1 and 0.5, alpha = b = 0.1).",
        section=SECTION,
        holds=band["low"] > 0,
        criterion="The interval over seeds of the growth in the second half of the steps is above 0.",
        **band,
    )


def gaps(learner: Tabular) -> NDArray[np.float64]:
    """[S], |logit of one action less that of the other|."""
    return np.array([abs(row[0] - row[1]) for row in learner.logits.values()])


def dilemmas(rng: np.random.Generator, quick: bool) -> list[Finding]:
    """The prisoner's dilemma by both rules: how much the differences of logits grow in the second half."""
    mdp, seeds, steps = dilemma(), *((5, 1000) if quick else (20, 20_000))
    growth: dict[str, list[float]] = {"ppo": [], "actde": []}
    for _ in range(seeds):
        for name, kind in (("ppo", TabularPPO), ("actde", TabularACTDE)):
            learner = kind(start(mdp), alpha=0.1, b=0.1)
            errors = walk(learner, mdp, rng)
            take(errors, steps // 10)
            before = gaps(learner)
            take(errors, steps - steps // 10)
            growth[name].append(float((gaps(learner) - before).max()))
    ppo, actde = (over_seeds(growth[name]) for name in ("ppo", "actde"))
    return [
        finding.claim(
            f"bandit.footnote3.dilemma-{name}",
            f"The prisoner's dilemma in tables: {what} (nats by which a state's difference of logits grows in the last"
            " decade of steps).",
            section=SECTION,
            holds=holds,
            criterion=criterion,
            of_post=False,
            **band,
        )
        for name, what, band, holds, criterion in (
            ("ppo", "PPO's logits grow", ppo, ppo["low"] > 0.5, "The interval is above 0.5."),
            ("actde", "ACTDE's grow less", actde, actde["high"] < ppo["low"], "The interval is below PPO's."),
        )
    ]


def figure(rng: np.random.Generator, path: Path, *, quick: bool) -> None:
    """The ledger in one run of ACTDE, and the differences of logits in five runs of each rule."""
    mdp, steps = dilemma(), moments(1000 if quick else 20_000)
    drawing, (left, right) = make_figure()
    for name, kind, style in (("ppo", TabularPPO, "--"), ("actde", TabularACTDE, "-")):
        runs = [course(kind, mdp, steps, rng) for _ in range(5)]
        for place, (_, logits) in enumerate(runs):
            lines = right.plot(steps, np.abs(logits[..., 0] - logits[..., 1]), style, color=COLORS[name], lw=1)
            if place == 0:
                lines[0].set_label(name.upper())
    q_values, logits = runs[0]
    ends = (float(q_values.min()), float(q_values.max()))
    left.plot(ends, ends, color="0.6", lw=1)
    for place, marker in enumerate("os^D"):
        before, now = divmod(place, 2)
        look: dict[str, Any] = {
            "color": PALETTE[place],
            "ms": 4,
            "mfc": "none",
            "label": f"{ACTIONS[now]} after {ACTIONS[before]}",
        }
        left.plot(q_values[:, before, now], logits[:, before, now], marker, **look)
    left.set(xlabel="(b / alpha) (q − q_0)", ylabel="logit − logit_0, nats")
    right.set(xscale="log", xlabel="steps", ylabel="|difference of the logits|, nats")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    save_figure(drawing, path)


def course(
    kind: type[Tabular], mdp: MDP, at: list[int], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """q and logits, [T, S, A] each, of a learner from even logits at the steps `at`."""
    learner, kept = kind(start(mdp), alpha=0.1, b=0.1), []
    errors = walk(learner, mdp, rng)
    for before, now in pairwise([0, *at]):
        take(errors, now - before)
        kept.append([[list(row.values()) for row in table.values()] for table in (learner.q_values, learner.logits)])
    return tuple(np.array(kept).swapaxes(0, 1))
