"""Does PPO penalise exploration? The sign of a first try's error, and the post's Chuck-E-Cheese as a two-turn game.

"We had a" is followed by " wedding" (reward 1, the end) or " party". " party" is followed by "." (0.5) or, rarely at
first, by " at Chuck-E-Cheese" (2). We chose the initial probability of the latter; the post gives none.
"""

import math
import random
from typing import Any

import numpy as np

from actde.tabular import Tabular, TabularACTDE, TabularPPO, Transition
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import Array, judge, over_seeds

RARE = 0.01
"""pi_0(Chuck-E-Cheese)."""
START: dict[Any, dict[Any, float]] = {
    "We had a": {"wedding": 0.0, "party": 0.0},
    "We had a party": {".": math.log(1 - RARE), "at Chuck-E-Cheese": math.log(RARE)},
}


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    """Sizes: bandits, then seeds and episodes of the two-turn game."""
    bandits, seeds, episodes = (50, 30, 300) if quick else (1000, 300, 1000)
    ppo, actde = (punished(kind, rng.random((bandits, 2))) for kind in (TabularPPO, TabularACTDE))
    chuck_e_cheese = reaches_rare(rng, seeds, episodes)
    below = punished(TabularACTDE, rng.uniform(-1, 1, (bandits, 2)))
    return {
        "ppo.explore": judge(ppo, ppo == 1),
        "actde.explore": judge(actde, actde == 0),
        "ppo.chuck-e-cheese": chuck_e_cheese,
        "actde.explore-below": judge(below, below == 0),
    }


def punished(kind: type[Tabular], rewards: Array) -> float:
    """Share of bandits, `rewards` [N, 2], in which the worse arm's first try, after the better's, has an error < 0."""
    return float(np.mean([second_error(kind, *sorted(row)) < 0 for row in rewards.tolist()]))


def second_error(kind: type[Tabular], worse: float, better: float) -> float:
    learner = kind({0: {"better": 0.0, "worse": 0.0}})
    learner.learn(Transition(state=0, action="better", reward=better))
    return learner.learn(Transition(state=0, action="worse", reward=worse))


def reaches_rare(rng: np.random.Generator, seeds: int, episodes: int) -> Measurement:
    """PPO's share of seeds that produce the rare sentence, which is the best; the claim is that ACTDE's is larger."""
    starts = [int(seed) for seed in rng.integers(2**32, size=seeds)]
    ppo, actde = (np.array([finds(kind, seed, episodes) for seed in starts]) for kind in (TabularPPO, TabularACTDE))
    share, idle = over_seeds(actde, unit=True)["ours"], 1 - (1 - 0.5 * RARE) ** episodes
    difference = over_seeds(actde.astype(float) - ppo.astype(float))
    words = {"episodes": f"{episodes}", "actde": f"{share:.2f}", "idle": f"{idle:.2f}"}
    return judge(over_seeds(ppo, unit=True), difference["low"] > 0, **words)


def finds(kind: type[Tabular], seed: int, episodes: int) -> bool:
    """Whether the learner, on its own policy, produces the rare sentence within so many episodes."""
    learner, rng = kind(START), random.Random(seed)
    for _ in range(episodes):
        if learner.sample("We had a", rng) == "wedding":
            learner.learn(Transition(state="We had a", action="wedding", reward=1))
            continue
        learner.learn(Transition(state="We had a", action="party", reward=0, next_state="We had a party"))
        word = learner.sample("We had a party", rng)
        if word != ".":
            return True
        learner.learn(Transition(state="We had a party", action=word, reward=0.5))
    return False
