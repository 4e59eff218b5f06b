"""Does PPO penalise exploration? The sign of a first try's error, and the post's Chuck-E-Cheese as a game of two turns.

"We had a" is followed by " wedding" (1, the end) or by " party"; that by "." (0.5) or, seldom at first, by
" at Chuck-E-Cheese" (2). The share of this last word before learning is ours; the post gives none.
"""

import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actde.tabular import Tabular, TabularACTDE, TabularPPO, Transition
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds

ADVANTAGE = finding.SECTIONS[1]
ACTDE = next(section for section in finding.SECTIONS if section.startswith("Action-"))
RARE = 0.01
"""pi_0(Chuck-E-Cheese)."""
START: dict[Any, dict[Any, float]] = {
    "We had a": {"wedding": 0.0, "party": 0.0},
    "We had a party": {".": math.log(1 - RARE), "at Chuck-E-Cheese": math.log(RARE)},
}


def findings(rng: np.random.Generator, *, quick: bool) -> list[Finding]:
    """Sizes: bandits, then seeds and episodes of the game of two turns."""
    bandits, seeds, episodes = (50, 30, 300) if quick else (1000, 300, 1000)
    return [*first_tries(rng, bandits), *chuck_e_cheese(rng, seeds, episodes), below_zero(rng, bandits)]


def first_tries(rng: np.random.Generator, bandits: int) -> list[Finding]:
    """Two arms with rewards between 0 and 1; the better one is tried, then the worse one for the first time."""
    found = []
    for rule, kind in (("ppo", TabularPPO), ("actde", TabularACTDE)):
        found.append((rule, punished(kind, rng.random((bandits, 2)))))
    (_, ppo), (_, actde) = found
    return [
        finding.claim(
            "bandit.ppo.explore",
            "PPO updates against actions that are not known to beat the current value: it penalises exploration"
            " (share of first tries of a worse arm with an error below 0).",
            section=ADVANTAGE,
            ours=ppo,
            holds=ppo == 1,
            criterion="In every random bandit, rewards in [0, 1], the first try of the worse arm has a negative error.",
        ),
        finding.claim(
            "bandit.actde.explore",
            "Under ACTDE networks are not penalised for exploring (the same share; rewards not below q's initial 0).",
            section=ACTDE,
            ours=actde,
            holds=actde == 0,
            criterion="In no random bandit, rewards in [0, 1], has the first try of the worse arm a negative error.",
        ),
    ]


def below_zero(rng: np.random.Generator, bandits: int) -> Finding:
    """The same for ACTDE with rewards on both sides of q's initial 0."""
    share = punished(TabularACTDE, rng.uniform(-1, 1, (bandits, 2)))
    return finding.claim(
        "bandit.actde.explore-below",
        "... nor where a reward may be below q's initial 0 (the same share; rewards in [-1, 1]).",
        section=ACTDE,
        of_post=False,
        ours=share,
        holds=share == 0,
        criterion="In no random bandit, rewards in [-1, 1], has the first try of the worse arm a negative error.",
    )


def punished(kind: type[Tabular], rewards: NDArray[np.float64]) -> float:
    """Share of bandits, `rewards` [N, 2], in which the worse arm's first try, after the better's, has an error < 0."""
    return float(np.mean([second_error(kind, *sorted(row)) < 0 for row in rewards.tolist()]))


def second_error(kind: type[Tabular], worse: float, better: float) -> float:
    learner = kind({0: {"better": 0.0, "worse": 0.0}})
    learner.learn(Transition(state=0, action="better", reward=better))
    return learner.learn(Transition(state=0, action="worse", reward=worse))


def chuck_e_cheese(rng: np.random.Generator, seeds: int, episodes: int) -> list[Finding]:
    """Which learner ever says the rare, best sentence."""
    starts = [int(seed) for seed in rng.integers(2**32, size=seeds)]
    ppo, actde = (np.array([finds(kind, seed, episodes) for seed in starts]) for kind in (TabularPPO, TabularACTDE))
    share, idle = over_seeds(actde, unit=True), 1 - (1 - 0.5 * RARE) ** episodes
    difference = over_seeds(actde.astype(float) - ppo.astype(float))
    return [
        finding.claim(
            "bandit.ppo.chuck-e-cheese",
            "PPO may never get to the party at Chuck-E-Cheese, its exploration being penalised"
            f" (share of seeds that say it within {episodes} episodes; ACTDE's is {share['ours']:.2f}, that of the"
            f" initial policy without learning {idle:.2f}).",
            section=ADVANTAGE,
            holds=difference["low"] > 0,
            criterion="The interval over seeds of ACTDE's share less PPO's is above 0.",
            **over_seeds(ppo, unit=True),
        )
    ]


def finds(kind: type[Tabular], seed: int, episodes: int) -> bool:
    """Whether the learner, on its own policy, says the rare sentence within so many episodes."""
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
