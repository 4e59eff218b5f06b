"""Metrics of a rollout's episodes."""

from collections.abc import Sequence

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Game, StepEvent

Metrics = dict[str, float]


def episode_metrics(episodes: Sequence[Episode], bonus_command: str = "") -> Metrics:
    """Return the metrics of a rollout.

    Three metrics are means over turns: "turn_entropy" (nats), "value" and "q_value" (units of reward). For
    "turn_entropy", only turns with several commands count. All other metrics are means over episodes. "success" and
    "normalized_score" ignore reward shaping. "reward" is the sum of an episode's shaped rewards. If `bonus_command` is
    set, "bonus_share" is the fraction of an episode's turns that play this command (see `command_share`).
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
    """Return the fraction of an episode's turns whose command begins with these words.

    The episode must have at least one turn.
    """
    turns = [games.starts_with_words(step.decision.command, words) for step in episode.steps]
    return sum(turns) / len(turns)


class StrategyShares:
    """Counts how often each strategy is played. `info["strategy"]` is the strategy of the last command."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counts = dict.fromkeys(names, 0)

    def count(self, event: StepEvent) -> None:
        """Count the strategy of one command. Commands without a strategy are ignored."""
        name = event.info.get("strategy")
        if name in self.counts:
            self.counts[name] += 1

    def metrics(self) -> Metrics:
        """Return the share of each strategy among the counted commands, as "share_NAME"."""
        total = max(1, sum(self.counts.values()))
        return {f"share_{name}": count / total for name, count in self.counts.items()}


def strategies_of(spec: Game) -> tuple[str, ...]:
    """Return the names of a game's strategies. Most games have none."""
    env = spec.make()
    env.close()
    return tuple(getattr(env.unwrapped, "strategies", ()))
