"""Evaluation of an agent: success, score, length and entropy, with 95% confidence intervals.

The confidence intervals are percentile bootstraps over episodes, with 5,000 seeded resamples. They cover the variation
between episodes, but not the variation between training seeds.

If all values are equal, a bootstrap interval would have width 0. For a proportion of 0 or 1, Clopper and Pearson's
exact interval is reported instead. For 20 wins in 20 episodes, for example, it is 0.83 to 1. For other quantities, no
interval is reported if all values are equal.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.play.episode import Episode
from agents.play.live_episode import Game
from agents.play.metrics import command_share
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent

CONFIDENCE = 0.95
RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over episodes and its confidence interval."""

    value: float
    low: float | None
    """Lower end of the interval. `low` and `high` are None if all values are equal and no exact interval exists."""
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The results of one agent on a set of games.

    A quantity is None if it is not defined for any episode.
    """

    agent: str
    game: str
    """The games, as the user named them."""
    episodes: int
    errors: int
    """Number of episodes that were truncated by an error of the game. All statistics include these episodes."""
    success_rate: Estimate
    """Fraction of episodes won."""
    normalized_score: Estimate | None
    """Final score divided by the game's maximum score. It is None if no maximum is known."""
    steps: Estimate
    """Commands per episode."""
    steps_to_win: Estimate | None
    """Commands per won episode."""
    entropy: Estimate | None
    """Entropy of the policy in nats, averaged over an episode's turns. It is None if the agent reports no entropy."""
    bonus_share: Estimate | None = None
    """Fraction of an episode's turns that play the bonus command. It is None if no bonus command is set."""
    trained_on: int | None = None
    """Number of these games on which the agent was trained. It is None if this number is unknown."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarize(
    episodes: Sequence[Episode], *, agent: str, game: str, seed: int = 0, bonus_command: str = ""
) -> Evaluation:
    """Return the statistics of one or more episodes. `seed` is the seed of the bootstrap."""

    def mean(values: Iterable[float | None], unit: bool = False) -> Estimate | None:
        return estimate([value for value in values if value is not None], unit=unit, seed=seed)

    success = mean((float(episode.won) for episode in episodes), unit=True)
    steps = mean(float(len(episode.steps)) for episode in episodes)
    shares = [command_share(episode, bonus_command) for episode in episodes if bonus_command and episode.steps]
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
        bonus_share=mean(shares, unit=True),
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
    bonus_command: str = "",
    on_episode: Callable[[Episode], None] | None = None,
) -> Evaluation:
    """Play episodes and summarize them.

    With equal arguments, all agents play the same games with the same seeds. If there are more games than episodes,
    evenly spaced games of the list are played, so that every level is represented.
    """
    played: list[Episode] = []
    infos: Sequence[str] = getattr(agent, "infos", ())
    if 0 < episodes < len(specs):
        specs = [specs[index * len(specs) // episodes] for index in range(episodes)]
    with EpisodeRunner(specs, seed=seed, parallel=parallel, max_turns=max_turns, infos=infos) as runner:
        for episode in runner.play(agent, episodes):
            played.append(episode)
            if on_episode is not None:
                on_episode(episode)
    played.sort(key=lambda episode: episode.index)
    return summarize(played, agent=agent.name, game=game, seed=seed, bonus_command=bonus_command)


def estimate(values: Sequence[float], *, unit: bool = False, seed: int = 0) -> Estimate | None:
    """Return the mean of the values with its confidence interval. Return None if there are no values.

    Args:
        unit: whether the values are bounded by 0 and 1. If so, a mean of 0 or 1 has an exact interval.
    """
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
