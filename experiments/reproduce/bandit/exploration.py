"""Does PPO penalise exploration? The sign of a first try's error, and the post's Chuck-E-Cheese as a two-turn game.

"We had a" is followed by " wedding" (reward 1, the end) or " party". " party" is followed by "." (0.5) or, rarely at
first, by " at Chuck-E-Cheese" (2). We chose the initial probability of the latter; the post gives none.
"""

import math
import random
from typing import Any

import numpy as np

from actde.tabular import Tabular, TabularACTDE, TabularPPO, Transition
from experiments.reproduce.finding import ACTDE, ADVANTAGE, Finding, claim
from experiments.reproduce.statistics import Array, judge, over_seeds

RARE = 0.01
"""pi_0(Chuck-E-Cheese)."""
START: dict[Any, dict[Any, float]] = {
    "We had a": {"wedding": 0.0, "party": 0.0},
    "We had a party": {".": math.log(1 - RARE), "at Chuck-E-Cheese": math.log(RARE)},
}


def findings(rng: np.random.Generator, *, quick: bool) -> list[Finding]:
    """Sizes: bandits, then seeds and episodes of the two-turn game."""
    bandits, seeds, episodes = (50, 30, 300) if quick else (1000, 300, 1000)
    ppo, actde = (punished(kind, rng.random((bandits, 2))) for kind in (TabularPPO, TabularACTDE))
    return [
        claim(
            "bandit.ppo.explore",
            "PPO's update is negative for actions that are not known to beat the current value: it penalises"
            " exploration (share of first tries of a worse arm with a negative error).",
            section=ADVANTAGE,
            criterion="In every random bandit with rewards in [0, 1], the worse arm's first try has a negative error.",
            **judge(ppo, ppo == 1),
        ),
        claim(
            "bandit.actde.explore",
            "ACTDE does not penalise networks for exploring (the same share; rewards not below q's initial 0).",
            section=ACTDE,
            criterion="In no random bandit with rewards in [0, 1] does the worse arm's first try have a negative error.",
            **judge(actde, actde == 0),
        ),
        chuck_e_cheese(rng, seeds, episodes),
        below_zero(rng, bandits),
    ]


def below_zero(rng: np.random.Generator, bandits: int) -> Finding:
    share = punished(TabularACTDE, rng.uniform(-1, 1, (bandits, 2)))
    return claim(
        "bandit.actde.explore-below",
        "... nor does it if a reward may be below q's initial 0 (the same share; rewards in [-1, 1]).",
        section=ACTDE,
        criterion="In no random bandit with rewards in [-1, 1] does the worse arm's first try have a negative error.",
        of_post=False,
        **judge(share, share == 0),
    )


def punished(kind: type[Tabular], rewards: Array) -> float:
    """Share of two-armed bandits, `rewards` [N, 2], in which the worse arm's first try, after the better's, has an
    error < 0."""
    return float(np.mean([second_error(kind, *sorted(row)) < 0 for row in rewards.tolist()]))


def second_error(kind: type[Tabular], worse: float, better: float) -> float:
    learner = kind({0: {"better": 0.0, "worse": 0.0}})
    learner.learn(Transition(state=0, action="better", reward=better))
    return learner.learn(Transition(state=0, action="worse", reward=worse))


def chuck_e_cheese(rng: np.random.Generator, seeds: int, episodes: int) -> Finding:
    """How often learners reach the rare sentence, which is the best."""
    starts = [int(seed) for seed in rng.integers(2**32, size=seeds)]
    ppo, actde = (np.array([finds(kind, seed, episodes) for seed in starts]) for kind in (TabularPPO, TabularACTDE))
    share, idle = over_seeds(actde, unit=True), 1 - (1 - 0.5 * RARE) ** episodes
    difference = over_seeds(actde.astype(float) - ppo.astype(float))
    return claim(
        "bandit.ppo.chuck-e-cheese",
        "PPO may never get to the party at Chuck-E-Cheese, because it penalises exploration (share of seeds that reach"
        f" it within {episodes} episodes; ACTDE's is {share['ours']:.2f}, that of the initial policy without learning"
        f" {idle:.2f}).",
        section=ADVANTAGE,
        criterion="The interval of ACTDE's share minus PPO's is above 0.",
        **judge(over_seeds(ppo, unit=True), difference["low"] > 0),
    )


def finds(kind: type[Tabular], seed: int, episodes: int) -> bool:
    """Whether the learner, on its own policy, produces the rare sentence within so many episodes."""
    learner, rng = kind(START), random.Random(seed)
    for _ in range(episodes):
        if learner.choose("We had a", rng) == "wedding":
            learner.learn(Transition(state="We had a", action="wedding", reward=1))
            continue
        learner.learn(Transition(state="We had a", action="party", reward=0, next_state="We had a party"))
        word = learner.choose("We had a party", rng)
        if word != ".":
            return True
        learner.learn(Transition(state="We had a party", action=word, reward=0.5))
    return False
