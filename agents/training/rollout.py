"""Rollouts: the episodes that a process plays in an iteration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

import games
from actde.optimizer import Labels
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.live_episode import StepEvent
from agents.play.metrics import Metrics, episode_metrics, strategy_shares
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.training.dagger import DAggerAgent, label_best_episodes
from agents.training.hindsight import with_obtained_returns
from agents.training.level_schedule import LevelSchedule
from agents.training.memory_estimate import SMALLER_ROLLOUT, memory_advice
from agents.training.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """What one process played in an iteration.

    Attributes:
        segments: token streams of the episodes, cut into segments. Empty after the update.
        separate_tokens: number of tokens that the model would have computed without prefix sharing.
        computed_tokens: number of tokens that the model has computed.
        strategies: number of commands per strategy. The key None counts the commands without a strategy.
        errors: number of failed episodes.
    """

    episodes: list[Episode]
    segments: list[Segment]
    tokens: int
    separate_tokens: int
    computed_tokens: int
    strategies: Counter[str | None]
    label_metrics: Metrics
    next_episode: int
    errors: int

    def with_segments(self, segments: list[Segment], metrics: Metrics) -> Self:
        tokens = sum(len(segment.tokens) for segment in segments)
        return replace(self, segments=segments, tokens=tokens, label_metrics=self.label_metrics | metrics)


class EpisodeSource(Protocol):
    """Adds episodes of other policies to a rollout."""

    def added_to(self, played: Rollout, earlier: int, progress: Progress) -> Rollout:
        """Return `played` with additional segments, which hold outputs of the current model.

        `earlier` is the number of rollouts of all processes before this iteration.
        """


def joined(rollouts: Sequence[Rollout]) -> Rollout:
    """Join the rollouts of all processes, ordered by rank, without their segments.

    With n processes, episode i of process r becomes episode i * n + r.
    """
    count = len(rollouts)
    episodes = [replace(e, index=e.index * count + rank) for rank, one in enumerate(rollouts) for e in one.episodes]
    return Rollout(
        episodes=sorted(episodes, key=lambda episode: episode.index),
        segments=[],
        tokens=sum(one.tokens for one in rollouts),
        separate_tokens=sum(one.separate_tokens for one in rollouts),
        computed_tokens=sum(one.computed_tokens for one in rollouts),
        strategies=sum((one.strategies for one in rollouts), Counter()),
        label_metrics={
            name: float(np.mean([one.label_metrics[name] for one in rollouts])) for name in rollouts[0].label_metrics
        },
        next_episode=sum(one.next_episode for one in rollouts),
        errors=sum(one.errors for one in rollouts),
    )


def make_runner(
    config: TrainConfig, specs: Sequence[games.GameSpec], *, seed: int, with_expert: bool, advice: str
) -> EpisodeRunner:
    """Build an episode runner with the settings of a run."""
    return EpisodeRunner(
        specs,
        seed=seed,
        parallel=config.rollout.parallel,
        max_turns=config.rollout.max_turns,
        shaping=config.reward.shaping(),
        infos=("policy_commands",) if with_expert and config.imitation.needs_policy else (),
        group_size=config.rollout.group_size,
        advice=advice,
    )


@memory_advice(SMALLER_ROLLOUT)
def play_rollout(
    config: TrainConfig,
    runner: EpisodeRunner,
    agent: LanguageModelAgent,
    dagger_agent: DAggerAgent | None,
    *,
    labels: Labels,
    progress: Progress,
) -> Rollout:
    """Play the model's own episodes of one iteration, and label them if the optimizer imitates.

    If there is a `dagger_agent`, it plays instead of `agent`.
    """
    strategies, failed_before, tokens_before = Counter[str | None](), runner.failures.count, agent.tokens
    read_before, computed_before = agent.reader.tokens, agent.reader.computed
    count_own = config.rollout.own_episodes
    progress.begin("rollout", count_own)

    def count(event: StepEvent) -> None:
        strategies.update([event.info.get("strategy")])
        progress.count(event, agent.tokens - tokens_before)

    agent.forget()  # a rollout that failed has left live episodes
    played = runner.play(dagger_agent or agent, count_own, on_step=count)
    episodes = sorted(played, key=lambda episode: episode.index)
    agent.forget()  # the update needs the memory
    segments, label_metrics = agent.take_segments(), Metrics()
    if labels == "return":
        segments = with_obtained_returns(config, agent, runner.specs, episodes)
    elif labels == "best" and episodes:
        top_fraction, gamma = config.imitation.top_fraction, config.optimizer.gamma
        segments, label_metrics = label_best_episodes(segments, episodes, top_fraction=top_fraction, gamma=gamma)
    elif dagger_agent:
        label_metrics = {"beta": dagger_agent.beta, **dagger_agent.take_metrics()}
    if count_own and not segments:
        runner.failures.check()
        raise AgentError(f"{config.run.game} offers no choice: every turn has one admissible command")
    return Rollout(
        episodes=episodes,
        segments=segments,
        tokens=sum(len(segment.tokens) for segment in segments),
        separate_tokens=agent.reader.tokens - read_before,
        computed_tokens=agent.reader.computed - computed_before,
        strategies=strategies,
        label_metrics=label_metrics,
        next_episode=runner.next_episode,
        errors=runner.failures.count - failed_before,
    )


def rollout_metrics(played: Rollout, schedule: LevelSchedule, strategies: Sequence[str], bonus_command: str) -> Metrics:
    """Return the metrics of a joined rollout, and update the level schedule."""
    metrics = episode_metrics(played.episodes, bonus_command) if played.episodes else Metrics()
    if played.computed_tokens:
        metrics["rollout_sharing"] = played.separate_tokens / played.computed_tokens
    metrics |= schedule.update(played.episodes) | {"errors": played.errors} | played.label_metrics
    return metrics | strategy_shares(strategies, played.strategies)


def with_advantages(played: Rollout, advantages: dict[tuple[int, int], float]) -> Rollout:
    """Return a copy without segments. Its steps store `advantages`, by (episode, turn)."""
    steps = [
        tuple(replace(step, advantage=advantages.get((e.index, turn))) for turn, step in enumerate(e.steps))
        for e in played.episodes
    ]
    episodes = [replace(episode, steps=row) for episode, row in zip(played.episodes, steps, strict=True)]
    return replace(played, episodes=episodes, segments=[])
