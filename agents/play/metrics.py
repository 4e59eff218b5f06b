"""What a rollout's episodes come to in numbers: one mean for each iteration of a training run.

Measures of an update are the updater's; those of finished agents are in evaluate.py. Knows no tensor.
"""

from collections.abc import Sequence

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Game, StepEvent

Metrics = dict[str, float]


def episode_metrics(episodes: Sequence[Episode], act: str = "") -> Metrics:
    """Means over a rollout's episodes, and over its turns for entropy (nats), v and q (reward).

    With `act`, "bonus_share" is the share of an episode's turns on that act (see `games.starts_with_words`). "success"
    and "normalized_score" are the game's own, "reward" is the shaped one.
    """
    steps = [step for episode in episodes for step in episode.steps]
    values = [step.decision.value for step in steps if step.decision.value is not None]
    q = [step.decision.q_values[step.decision.command] for step in steps if step.decision.q_values]
    entropies = [step.decision.entropy or 0.0 for step in steps if len(step.admissible_commands) > 1]
    scored = [episode.score / episode.max_score for episode in episodes if episode.max_score]
    found = {
        "success": float(np.mean([episode.won for episode in episodes])),
        "reward": float(np.mean([episode.reward for episode in episodes])),
        "steps": float(np.mean([len(episode.steps) for episode in episodes])),
        "turn_entropy": float(np.mean(entropies)) if entropies else 0.0,
        "value": float(np.mean(values)) if values else 0.0,
    }
    if scored:
        found["normalized_score"] = float(np.mean(scored))
    if q:
        found["q_value"] = float(np.mean(q))
    shares = [share for episode in episodes if act and (share := act_share(episode, act)) is not None]
    if shares:
        found["bonus_share"] = float(np.mean(shares))
    return found


def act_share(episode: Episode, act: str) -> float | None:
    """Share of an episode's turns whose command begins with the words of `act`; None for one without turns."""
    turns = [games.starts_with_words(step.decision.command, act) for step in episode.steps]
    return sum(turns) / len(turns) if turns else None


class StrategyShares:
    """Counts which strategy each command followed, in games that name their strategies (info's `strategy`)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counts = dict.fromkeys(names, 0)

    def count(self, event: StepEvent) -> None:
        """Note one command; one that followed no strategy of these is left out."""
        name = event.info.get("strategy")
        if name in self.counts:
            self.counts[name] += 1

    def metrics(self) -> Metrics:
        """ "share_NAME" for every strategy; they sum to 1."""
        total = max(1, sum(self.counts.values()))
        return {f"share_{name}": count / total for name, count in self.counts.items()}


def strategies_of(spec: Game) -> tuple[str, ...]:
    """The names of a game's strategies; none for a game that names none."""
    env = spec.make()
    env.close()
    return tuple(getattr(env.unwrapped, "strategies", ()))
