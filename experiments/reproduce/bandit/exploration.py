"""Test the post's claim that PPO penalizes exploration."""

import math
import random
from typing import Any

import numpy as np

from actde.tabular import Tabular, TabularACTDE, TabularPPO, Transition
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import Array, judge, over_seeds

RARE = 0.01  # initial probability of " at Chuck-E-Cheese" after " party"; the post gives none
# The post's example as a game of two turns. "wedding" gives reward 1 and ends the game. After "party", "." gives 0.5,
# and "at Chuck-E-Cheese" gives 2. This code ends when a learner samples it, so the 2 is never given.
START: dict[Any, dict[Any, float]] = {
    "We had a": {"wedding": 0.0, "party": 0.0},
    "We had a party": {".": math.log(1 - RARE), "at Chuck-E-Cheese": math.log(RARE)},
}


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    bandits, seeds, episodes = (50, 30, 300) if quick else (1000, 300, 1000)
    ppo, actde = (punished_share(learner_type, rng.random((bandits, 2))) for learner_type in (TabularPPO, TabularACTDE))
    chuck_e_cheese = measure_rare(rng, seeds, episodes)
    below_zero = punished_share(TabularACTDE, rng.uniform(-1, 1, (bandits, 2)))
    return {
        "ppo.explore": judge(ppo, ppo == 1),
        "actde.explore": judge(actde, actde == 0),
        "ppo.chuck-e-cheese": chuck_e_cheese,
        "actde.explore-below": judge(below_zero, below_zero == 0),
    }


def punished_share(learner_type: type[Tabular], rewards: Array) -> float:
    """Pull the better arm, then the worse. Return the share of negative second TD errors. `rewards`: [bandits, 2]."""
    errors = []
    for worse, better in np.sort(rewards).tolist():
        learner = learner_type({0: {"better": 0.0, "worse": 0.0}})
        learner.learn(Transition(state=0, action="better", reward=better))
        errors.append(learner.learn(Transition(state=0, action="worse", reward=worse)))
    return float(np.mean(np.less(errors, 0)))


def measure_rare(rng: np.random.Generator, seeds: int, episodes: int) -> Measurement:
    """Measure the share of seeds in which PPO samples the rare action."""
    learner_seeds = [int(seed) for seed in rng.integers(2**32, size=seeds)]
    ppo, actde = (
        np.array([finds_rare(learner_type, seed, episodes) for seed in learner_seeds])
        for learner_type in (TabularPPO, TabularACTDE)
    )
    actde_share, idle_share = over_seeds(actde, unit=True)["ours"], 1 - (1 - 0.5 * RARE) ** episodes
    difference = over_seeds(actde.astype(float) - ppo.astype(float))
    words = {"episodes": f"{episodes}", "actde": f"{actde_share:.2f}", "idle": f"{idle_share:.2f}"}
    return judge(over_seeds(ppo, unit=True), difference["low"] > 0, **words)


def finds_rare(learner_type: type[Tabular], seed: int, episodes: int) -> bool:
    """Return whether a learner samples the rare action within `episodes` episodes."""
    learner, rng = learner_type(START), random.Random(seed)
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
