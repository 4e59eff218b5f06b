"""Evaluation of an agent: success, score, length and entropy, with 95% confidence intervals.

The confidence intervals are percentile bootstraps over episodes, with 5,000 seeded resamples. They cover the variation
between episodes, but not the variation between training seeds.

If all values are equal, a bootstrap interval would have width 0. A proportion of 0 or 1 then has the exact interval of
Clopper and Pearson, for example 0.83 to 1 for 20 wins in 20 episodes. Any other quantity then has no interval.
"""

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

CONFIDENCE = 0.95
RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over episodes and the ends of its confidence interval, which are None if no interval is reported."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """The results of one agent at one level. The fields mean the same as in `Evaluation`."""

    level: int
    episodes: int
    success_rate: Estimate | None
    normalized_score: Estimate | None
    reward: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The results of one agent on a set of games. A quantity is None if it is not defined for any episode.

    Attributes:
        game: the games, as the user named them.
        errors: number of episodes in which the game failed. Episodes that an error truncated are included in all
            statistics. Episodes that could not start were replaced by other episodes.
        success_rate: fraction of won episodes, over the games that report `won` in some episode (see `wins`).
        normalized_score: final score divided by the game's maximum score.
        steps: commands per episode.
        steps_to_win: commands per won episode.
        entropy: entropy of the policy in nats, averaged over an episode's turns.
        texts: measures of the texts that the agent wrote, or None if it wrote none. They are `reward` (per episode),
            `tokens` (per text), `token_entropy` (nats per token) and the results of `text_measures`.
        bonus_share: fraction of an episode's turns that play the bonus command.
        trained_on: number of these games on which the agent was trained, or None if it is unknown.
        reward: sum of an episode's rewards, over the games without a maximum score. None if `texts` has the reward.
        levels: results at each level, lowest first. Empty if the games have fewer than two levels, or if the caller did
            not compute them with `by_level`.
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
        """Return the results as JSON data, with `reward` and `levels` only if they are defined."""
        data = asdict(self)
        for name in ("reward", "levels"):
            if not getattr(self, name):
                del data[name]
        return data


def summarize(
    episodes: Sequence[Episode], *, agent: str, game: str, errors: int = 0, seed: int = 0, bonus_command: str = ""
) -> Evaluation:
    """Return the statistics of `episodes`, which must not be empty. `seed` is the seed of the bootstrap.

    `agent`, `game` and `errors` are copied into the result. `bonus_command` determines its `bonus_share`.
    """
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
    episodes: Sequence[Episode], level_of: Mapping[str, int | None], others: Sequence[Episode], *, seed: int
) -> tuple[LevelResult, ...]:
    """Return the results at each level, lowest first, or () if the episodes have fewer than two levels.

    Args:
        level_of: maps the name of each game to its level, or to None if it has no level.
        others: further episodes of the same games (see `wins`).
        seed: seed of the bootstrap.
    """
    levels = sorted({level for e in episodes if (level := level_of.get(e.game)) is not None})
    results = []
    for level in levels if len(levels) > 1 else []:
        here = [episode for episode in episodes if level_of.get(episode.game) == level]
        results.append(
            LevelResult(
                level=level,
                episodes=len(here),
                success_rate=estimate(wins(here, others), unit=True, seed=seed),
                normalized_score=estimate([e.score / e.max_score for e in here if e.max_score], unit=True, seed=seed),
                reward=estimate([e.reward for e in here if not e.max_score], seed=seed),
            )
        )
    return tuple(results)


def _text_estimates(
    episodes: Sequence[Episode], mean: Callable[[Sequence[float]], Estimate | None]
) -> dict[str, Estimate] | None:
    """Return the measures of texts, or None if the agent wrote no text. Measures of diversity have no interval.

    `mean` returns the estimate of the mean of a list of values.
    """
    written = [step.decision for episode in episodes for step in episode.steps if step.decision.tokens]
    if not written:
        return None
    measured = {
        "reward": mean([episode.reward for episode in episodes]),
        "tokens": mean([len(decision.tokens) for decision in written]),
        "token_entropy": mean([(decision.entropy or 0.0) / len(decision.tokens) for decision in written]),
    }
    diversity = text_measures([decision.command for decision in written])
    return {name: value for name, value in measured.items() if value} | {
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
    """Play episodes and summarize them.

    With equal arguments, all agents play the same games with the same seeds. If there are more games than episodes,
    evenly spaced games of the list are played, so that every level is represented. `game` and `bonus_command` are as in
    `summarize`.

    Raises:
        FatalGameError: every episode failed, or many in a row (see `games.failures`).
    """
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
    """Return `count` >= 1 evenly spaced games of the list, or all games if it has no more than `count`."""
    if 0 < count < len(specs):
        return [specs[index * len(specs) // count] for index in range(count)]
    return specs


def wilson(won: Sequence[bool]) -> Estimate:
    """Return the win rate and Wilson's score interval. `won` must not be empty."""
    from scipy.stats import binomtest

    interval = binomtest(sum(won), len(won)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Estimate(value=sum(won) / len(won), low=float(interval.low), high=float(interval.high))


def estimate(values: Sequence[float], *, unit: bool = False, seed: int = 0) -> Estimate | None:
    """Return the mean of the values and its confidence interval, or None if there are no values.

    Set `unit` if 0 and 1 are the lowest and highest possible values. A mean of 0 or 1 then has an exact interval.
    """
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
    if unit and mean in (0.0, 1.0):
        tail = ((1 - CONFIDENCE) / 2) ** (1 / len(values))
        low, high = (0.0, 1 - tail) if mean == 0 else (tail, 1.0)
        return Estimate(value=mean, low=low, high=high)
    return Estimate(value=mean, low=None, high=None)
