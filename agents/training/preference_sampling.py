"""Sampling of preferences: an agent completes each prompt twice, and a judge says which completion is better."""

from collections.abc import Callable
from dataclasses import dataclass

import games
from agents.completion_rewards import scorer
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent, AgentError
from agents.text.preferences import Preference

PROMPTS = 32
"""Number of prompts that are completed at once."""
PATIENCE = 20
"""Maximum number of ties per preference. With more ties, sampling fails, but only after `LEAST` pairs."""
LEAST = 256
"""Number of pairs that are compared before sampling can fail because of ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledPreferences:
    """Preferences in the order in which they were sampled, and the number of pairs that were dropped as ties."""

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
) -> SampledPreferences:
    """Sample `pairs` preferences. A pair of completions with equal scores or the same text is a tie and is dropped.

    Args:
        game: one or several completion games.
        judge: name of the reward that compares the completions (see `games.completion.rewards`).
        seed: seed of the prompts. The agent has its own seed.

    Raises:
        GameError: the game or the judge does not exist, or fails.
        AgentError: the game is no completion game, the agent cannot play it, or nearly all completions are ties.
    """
    specs = games.resolve(game)
    if any(spec.kind != "completion" for spec in specs):
        raise AgentError(f"preferences need a completion game, got {game}")
    score = scorer(judge)
    found, ties = list[Preference](), 0
    with EpisodeRunner(specs, seed=seed, parallel=2 * PROMPTS, group_size=2) as runner:
        while len(found) < pairs:
            episodes = sorted(runner.play(agent, 2 * PROMPTS), key=lambda episode: episode.index)
            prompts, texts = [episode.steps[0].observation for episode in episodes], [_text(e) for e in episodes]
            scores = score(prompts, texts)
            for first in range(0, 2 * PROMPTS, 2):
                second = first + 1
                if len(found) == pairs:
                    break
                if texts[first] == texts[second] or scores[first] == scores[second]:
                    ties += 1
                    continue
                better, worse = (first, second) if scores[first] > scores[second] else (second, first)
                found.append(Preference(prompt=prompts[first], chosen=texts[better], rejected=texts[worse]))
                on_preference(found[-1])
            if ties + len(found) >= LEAST and ties > PATIENCE * (len(found) + 1):
                raise AgentError(
                    f"{judge} told {len(found)} of {ties + len(found)} pairs of completions apart; "
                    "expected a judge or a temperature with fewer ties"
                )
    return SampledPreferences(preferences=found, ties=ties)


def _text(episode: Episode) -> str:
    if episode.error is not None:
        raise games.GameError(episode.error)
    return episode.steps[0].decision.command
