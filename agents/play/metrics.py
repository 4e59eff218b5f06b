"""Metrics of the episodes of a rollout."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Game
from games.code_import import code_errors

Metrics = dict[str, float]
RECENT = 100  # `recent_success` is the win rate over the last `RECENT` episodes without an expert


def episode_metrics(episodes: Sequence[Episode], bonus_command: str = "") -> Metrics:
    """Return the metrics of a rollout (see docs/concepts/metrics.md)."""
    steps = [step for episode in episodes for step in episode.steps]
    measured: dict[str, Sequence[float]] = {
        "success": [bool(episode.won) for episode in episodes if not episode.with_expert],
        "success_with_expert": [bool(episode.won) for episode in episodes if episode.with_expert],
        "reward": [episode.reward for episode in episodes],
        "steps": [len(episode.steps) for episode in episodes],
        "turn_entropy": [step.decision.entropy or 0.0 for step in steps if len(step.admissible_commands) != 1] or [0.0],
        "value": [step.decision.value for step in steps if step.decision.value is not None] or [0.0],
        "normalized_score": [episode.score / episode.max_score for episode in episodes if episode.max_score],
        "q_value": [step.decision.q_values[step.decision.command] for step in steps if step.decision.q_values],
        "bonus_share": command_shares(episodes, bonus_command),
    }
    return {name: float(np.mean(values)) for name, values in measured.items() if values}


def command_shares(episodes: Sequence[Episode], prefix: str) -> list[float]:
    """Return, for each episode, the fraction of commands that begin with `prefix`."""
    matches_by_episode = [
        [games.starts_with_words(step.decision.command, prefix) for step in e.steps] for e in episodes if prefix
    ]
    return [sum(matches) / len(matches) for matches in matches_by_episode if matches]


def strategy_shares(names: Sequence[str], counts: Counter[str | None]) -> Metrics:
    """Return a dict: "share_NAME" -> fraction of commands with the strategy NAME."""
    total = max(1, sum(counts[name] for name in names))
    return {f"share_{name}": counts[name] / total for name in names}


def strategies_of(spec: Game) -> tuple[str, ...]:
    """Return the names of a game's strategies, or () without strategies."""
    env = spec.make()
    env.close()
    with code_errors(f"{spec.name}: expected an attribute,"):
        names = getattr(env.unwrapped, "strategies", ())
        return tuple(names) if isinstance(names, tuple | list) and all(isinstance(name, str) for name in names) else ()
