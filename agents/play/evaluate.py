"""How well an agent plays: success, score, length and entropy over finished episodes, each with an interval.

Intervals are at 95%. They are bootstrapped over episodes (percentile, 5,000 resamples, seeded), so they tell
how far the mean would move with other episodes drawn in the same way, and nothing about other training seeds.
A sample without spread has nothing to resample, and a bootstrap would claim certainty. There the bounds are,
for a quantity between 0 and 1 whose values are all 0 or all 1, Clopper and Pearson's exact ones (20 wins of
20 are a success rate of 0.83 to 1), and None for any other. Leaves out the agents to compare with and how a
table looks (`cli.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.play.episode import Episode
from agents.play.live_episode import Game
from agents.play.metrics import act_share
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent

CONFIDENCE = 0.95
RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over episodes and its interval."""

    value: float
    low: float | None
    """None, as `high`, where the sample says nothing about its own spread."""
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What one agent did on one set of games. A quantity that no episode has is None."""

    agent: str
    game: str
    """The games, as the user named them."""
    episodes: int
    errors: int
    """Episodes that a failing game cut short; they count like any other."""
    success_rate: Estimate
    """Share of episodes won."""
    normalized_score: Estimate | None
    """Final score over the game's maximum; None where the games state none."""
    steps: Estimate
    """Commands per episode."""
    steps_to_win: Estimate | None
    """Commands per won episode."""
    entropy: Estimate | None
    """Mean over an episode's turns of the policy's entropy, nats; None for agents without a policy."""
    bonus_share: Estimate | None = None
    """Share of an episode's turns on a certain act; None where none was named."""
    trained_on: int | None = None
    """How many of the games the agent was trained on; None where nothing is known of that."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarize(episodes: Sequence[Episode], *, agent: str, game: str, seed: int = 0, act: str = "") -> Evaluation:
    """The statistics of at least one episode; `seed` is the bootstrap's, `act` the one whose share is counted."""

    def mean(values: Iterable[float | None], unit: bool = False) -> Estimate | None:
        return estimate([value for value in values if value is not None], unit=unit, seed=seed)

    success = mean((float(episode.won) for episode in episodes), unit=True)
    steps = mean(float(len(episode.steps)) for episode in episodes)
    if success is None or steps is None:
        raise ValueError("expected at least one episode")
    return Evaluation(
        agent=agent,
        game=game,
        episodes=len(episodes),
        errors=sum(episode.error is not None for episode in episodes),
        success_rate=success,
        normalized_score=mean((_normalized(episode) for episode in episodes), unit=True),
        steps=steps,
        steps_to_win=mean(float(len(episode.steps)) for episode in episodes if episode.won),
        entropy=mean(_entropy(episode) for episode in episodes),
        bonus_share=mean((act_share(episode, act) for episode in episodes), unit=True) if act else None,
    )


def evaluate(
    agent: Agent,
    specs: Sequence[Game],
    *,
    game: str,
    episodes: int,
    seed: int,
    parallel: int = 8,
    max_turns: int | None = None,
    act: str = "",
    on_episode: Callable[[Episode], None] | None = None,
) -> Evaluation:
    """Play and count. Two agents with the same arguments meet the same games with the same seeds.

    Where there are more games than episodes, those at even distances are played, so that each level has its share.
    `act` is a command whose share of the turns is counted (see `games.starts_with_words`).
    """
    played: list[Episode] = []
    infos: Sequence[str] = getattr(agent, "infos", ())
    if 0 < episodes < len(specs):
        specs = [specs[index * len(specs) // episodes] for index in range(episodes)]
    with EpisodeRunner(specs, seed=seed, parallel=parallel, max_turns=max_turns, infos=infos) as arena:
        for episode in arena.play(agent, episodes):
            played.append(episode)
            if on_episode is not None:
                on_episode(episode)
    played.sort(key=lambda episode: episode.index)
    return summarize(played, agent=agent.name, game=game, seed=seed, act=act)


def estimate(values: Sequence[float], *, unit: bool = False, seed: int = 0) -> Estimate | None:
    """Mean of `values` [n] with its interval; `unit` says that they lie between 0 and 1. None for n = 0."""
    if not values:
        return None
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if np.ptp(sample) > 0:
        low, high = _bootstrap(sample, seed)
        return Estimate(value=mean, low=low, high=high)
    if unit and mean in (0.0, 1.0):
        tail = ((1 - CONFIDENCE) / 2) ** (1 / len(values))
        low, high = (0.0, 1 - tail) if mean == 0 else (tail, 1.0)
        return Estimate(value=mean, low=low, high=high)
    return Estimate(value=mean, low=None, high=None)


def _bootstrap(sample: NDArray[np.float64], seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    result = bootstrap(
        (sample,),
        np.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // len(sample)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _normalized(episode: Episode) -> float | None:
    return episode.score / episode.max_score if episode.max_score else None


def _entropy(episode: Episode) -> float | None:
    entropies = [step.decision.entropy for step in episode.steps if step.decision.entropy is not None]
    return sum(entropies) / len(entropies) if entropies else None
