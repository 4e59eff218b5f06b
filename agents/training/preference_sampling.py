"""Samples preferences. A judge compares two completions of each prompt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import games
from agents.completion_rewards import scorer
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent, AgentError
from agents.text.preferences import Preference
from games.completion import Scorer

PROMPTS = 32
"""Number of prompts per batch. Each prompt is completed twice."""
Batch = list[Preference | None]
"""For each of `PROMPTS` prompts: a preference, or None for a tie."""
PATIENCE = 20
"""Maximum number of ties per preference. With more ties, sampling fails."""
MIN_PAIRS = 256
"""Number of compared pairs before which ties cannot make sampling fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledPreferences:
    """Preferences in the order of sampling, and the number of ties."""

    preferences: list[Preference]
    ties: int


def sample_preferences(
    agent: Agent,
    game: str,
    judge: str,
    *,
    pairs: int,
    seed: int,
    on_preference: Callable[[Preference], None] = lambda preference: None,
    earlier: Sequence[Batch] = (),
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> SampledPreferences:
    """Sample `pairs` preferences between completions, scored by the reward `judge`. Ties are dropped.

    `earlier` holds the batches of an interrupted call.
    """
    specs = games.resolve(game)
    if any(spec.kind != "completion" for spec in specs):
        raise AgentError(f"preferences need a completion game, got {game}")
    score = scorer(judge)
    preferences, ties = list[Preference](), 0
    episodes = 2 * PROMPTS
    with EpisodeRunner(
        specs, seed=seed, parallel=episodes, first_episode=episodes * len(earlier), group_size=2
    ) as runner:
        batches = chain(earlier, _sample_batches(runner, agent, score, on_batch))
        while len(preferences) < pairs:
            for preference in next(batches):
                if len(preferences) == pairs:
                    break
                if preference is None:
                    ties += 1
                else:
                    preferences.append(preference)
                    on_preference(preference)
            if ties + len(preferences) >= MIN_PAIRS and ties > PATIENCE * (len(preferences) + 1):
                raise AgentError(
                    f"{judge} told {len(preferences)} of {ties + len(preferences)} pairs of completions apart; "
                    "expected a judge or a temperature with fewer ties"
                )
    return SampledPreferences(preferences=preferences, ties=ties)


def _sample_batches(
    runner: EpisodeRunner, agent: Agent, score: Scorer, on_batch: Callable[[Batch], None]
) -> Iterator[Batch]:
    while True:
        episodes = sorted(runner.play(agent, 2 * PROMPTS), key=lambda episode: episode.index)
        prompts, texts = [episode.steps[0].observation for episode in episodes], [_text(e) for e in episodes]
        scores = score(prompts, texts)
        batch: Batch = []
        for first in range(0, 2 * PROMPTS, 2):
            better, worse = sorted((first, first + 1), key=lambda index: -scores[index])
            is_tie = texts[better] == texts[worse] or scores[better] == scores[worse]
            preference = Preference(prompt=prompts[first], chosen=texts[better], rejected=texts[worse])
            batch.append(None if is_tie else preference)
        on_batch(batch)
        yield batch


def _text(episode: Episode) -> str:
    if episode.error is not None:
        raise games.GameError(episode.error)
    return episode.steps[0].decision.command
