"""Metrics of the episodes of a rollout."""

from collections.abc import Sequence

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Game, StepEvent

Metrics = dict[str, float]


def episode_metrics(episodes: Sequence[Episode], bonus_command: str = "") -> Metrics:
    """Means over episodes; over turns for entropy (nats), v and q (units of reward).

    "success" and "normalized_score" are the game's own, "reward" is the sum of shaped rewards. With `bonus_command`,
    "bonus_share" is the share of an episode's turns on it (see `command_share`).
    """
    steps = [step for episode in episodes for step in episode.steps]
    values = [step.decision.value for step in steps if step.decision.value is not None]
    q = [step.decision.q_values[step.decision.command] for step in steps if step.decision.q_values]
    entropies = [step.decision.entropy or 0.0 for step in steps if len(step.admissible_commands) > 1]
    scored = [episode.score / episode.max_score for episode in episodes if episode.max_score]
    metrics = {
        "success": float(np.mean([episode.won for episode in episodes])),
        "reward": float(np.mean([episode.reward for episode in episodes])),
        "steps": float(np.mean([len(episode.steps) for episode in episodes])),
        "turn_entropy": float(np.mean(entropies)) if entropies else 0.0,
        "value": float(np.mean(values)) if values else 0.0,
    }
    if scored:
        metrics["normalized_score"] = float(np.mean(scored))
    if q:
        metrics["q_value"] = float(np.mean(q))
    shares = [command_share(episode, bonus_command) for episode in episodes if bonus_command and episode.steps]
    if shares:
        metrics["bonus_share"] = float(np.mean(shares))
    return metrics


def command_share(episode: Episode, words: str) -> float:
    """Share of an episode's turns, at least one, whose command begins with these words."""
    turns = [games.starts_with_words(step.decision.command, words) for step in episode.steps]
    return sum(turns) / len(turns)


class StrategyShares:
    """Counts the strategies of commands, in games whose info names them (`strategy`)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counts = dict.fromkeys(names, 0)

    def count(self, event: StepEvent) -> None:
        """Count the strategy of one command, if it has one."""
        name = event.info.get("strategy")
        if name in self.counts:
            self.counts[name] += 1

    def metrics(self) -> Metrics:
        """The share of each strategy, as "share_NAME"."""
        total = max(1, sum(self.counts.values()))
        return {f"share_{name}": count / total for name, count in self.counts.items()}


def strategies_of(spec: Game) -> tuple[str, ...]:
    """The names of a game's strategies; empty for most games."""
    env = spec.make()
    env.close()
    return tuple(getattr(env.unwrapped, "strategies", ()))
