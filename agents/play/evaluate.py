"""Evaluates agents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from agents.play.episode import Episode, wins
from agents.play.live_episode import Game
from agents.play.metrics import command_shares
from agents.play.runner import EpisodeRunner
from agents.play.text_measures import text_measures
from agents.protocol import Agent

CONFIDENCE = 0.95  # the intervals do not include the variance between training seeds
RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and its 95% confidence interval. Unknown bounds are None."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """Results of an agent at one level."""

    level: int
    episodes: int
    success_rate: Estimate | None
    normalized_score: Estimate | None
    reward: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Results of an agent on a set of games. Undefined values are None.

    Attributes:
        success_rate: fraction of won episodes.
        normalized_score: final score divided by the maximum score.
        steps: number of commands per episode.
        steps_to_win: number of commands per won episode.
        entropy: mean entropy of the policy at a turn, in nats.
        bonus_share: fraction of the commands that begin with the bonus command.
        texts: reward, length, entropy and diversity of generated texts.
        trained_on: number of evaluated games that the agent was trained on.
        reward: sum of rewards per episode, for games without a maximum score.
    """

    agent: str
    game: str
    episodes: int
    errors: int
    success_rate: Estimate | None
    normalized_score: Estimate | None
    steps: Estimate
    steps_to_win: Estimate | None
    entropy: Estimate | None
    bonus_share: Estimate | None = None
    texts: dict[str, Estimate] | None = None
    trained_on: int | None = None
    reward: Estimate | None = None
    levels: tuple[LevelResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value or name not in ("reward", "levels")}


def summarize(
    episodes: Sequence[Episode], *, agent: str, game: str, errors: int = 0, seed: int = 0, bonus_command: str = ""
) -> Evaluation:
    """Return the statistics of `episodes`, which must not be empty."""
    share, mean = partial(estimate, unit=True, seed=seed), partial(estimate, seed=seed)
    steps, texts = mean([len(e.steps) for e in episodes]), _text_estimates(episodes, mean)
    entropies = [[s.decision.entropy for s in e.steps if s.decision.entropy is not None] for e in episodes]
    if steps is None:
        raise ValueError("expected at least one episode")
    return Evaluation(
        agent=agent,
        game=game,
        episodes=len(episodes),
        errors=errors,
        success_rate=share(wins(episodes)),
        normalized_score=share([e.score / e.max_score for e in episodes if e.max_score]),
        steps=steps,
        steps_to_win=mean([len(e.steps) for e in episodes if e.won]),
        entropy=mean([sum(values) / len(values) for values in entropies if values]),
        bonus_share=share(command_shares(episodes, bonus_command)),
        texts=texts,
        reward=mean([e.reward for e in episodes if not e.max_score]) if texts is None else None,
    )


def by_level(
    episodes: Sequence[Episode], level_of: Mapping[str, int | None], more_episodes: Sequence[Episode], *, seed: int
) -> tuple[LevelResult, ...]:
    """Return the results at each level, lowest level first. Return () for fewer than two levels."""
    episodes_by_level: dict[int, list[Episode]] = {}
    for episode in episodes:
        if (level := level_of.get(episode.game)) is not None:
            episodes_by_level.setdefault(level, []).append(episode)
    if len(episodes_by_level) < 2:
        return ()
    return tuple(
        LevelResult(
            level=level,
            episodes=len(level_episodes),
            success_rate=estimate(wins(level_episodes, more_episodes), unit=True, seed=seed),
            normalized_score=estimate(
                [e.score / e.max_score for e in level_episodes if e.max_score], unit=True, seed=seed
            ),
            reward=estimate([e.reward for e in level_episodes if not e.max_score], seed=seed),
        )
        for level, level_episodes in sorted(episodes_by_level.items())
    )


def _text_estimates(
    episodes: Sequence[Episode], mean: Callable[[Sequence[float]], Estimate | None]
) -> dict[str, Estimate] | None:
    decisions = [step.decision for episode in episodes for step in episode.steps if step.decision.tokens]
    if not decisions:
        return None
    estimates = {
        "reward": mean([episode.reward for episode in episodes]),
        "tokens": mean([len(decision.tokens) for decision in decisions]),
        "token_entropy": mean([(decision.entropy or 0.0) / len(decision.tokens) for decision in decisions]),
    }
    diversity = text_measures([decision.command for decision in decisions])
    return {name: value for name, value in estimates.items() if value} | {
        name: Estimate(value=value, low=None, high=None) for name, value in diversity.items()
    }


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
    """Play episodes, and return a summary. Every agent plays the same games with the same seeds."""
    played: list[Episode] = []
    infos = getattr(agent, "infos", ())
    with EpisodeRunner(
        evenly_spaced(specs, episodes), seed=seed, parallel=parallel, max_turns=max_turns, infos=infos
    ) as runner:
        for episode in runner.play(agent, episodes):
            played.append(episode)
            if on_episode is not None:
                on_episode(episode)
        runner.failures.check()
    played.sort(key=lambda episode: episode.index)
    errors = runner.failures.count
    return summarize(played, agent=agent.name, game=game, errors=errors, seed=seed, bonus_command=bonus_command)


def evenly_spaced(specs: Sequence[Game], count: int) -> Sequence[Game]:
    """Return `count` evenly spaced elements of `specs`, or all elements if `count` is too large."""
    if 0 < count < len(specs):
        return [specs[index * len(specs) // count] for index in range(count)]
    return specs


def wilson(won: Sequence[bool]) -> Estimate:
    """Return the win rate with a Wilson score interval. `won` must not be empty."""
    from scipy.stats import binomtest

    interval = binomtest(sum(won), len(won)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Estimate(value=sum(won) / len(won), low=float(interval.low), high=float(interval.high))


def estimate(values: Sequence[float], *, unit: bool = False, seed: int = 0) -> Estimate | None:
    """Return the mean with a confidence interval. Set `unit` if all values lie in [0, 1]."""
    if not values:
        return None
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if np.ptp(sample) > 0:
        from scipy.stats import bootstrap

        interval = bootstrap(
            (sample,),
            np.mean,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, 1_000_000 // len(sample)),
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return Estimate(value=mean, low=float(interval.low), high=float(interval.high))
    if unit and mean in (0.0, 1.0):  # the interval of Clopper and Pearson
        tail = ((1 - CONFIDENCE) / 2) ** (1 / len(values))
        low, high = (0.0, 1 - tail) if mean == 0 else (tail, 1.0)
        return Estimate(value=mean, low=low, high=high)
    return Estimate(value=mean, low=None, high=None)
