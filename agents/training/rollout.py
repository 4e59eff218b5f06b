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
    """The episodes that one process played in an iteration."""

    episodes: list[Episode]
    segments: list[Segment]  # token streams of the episodes, or [] after the update
    tokens: int
    separate_tokens: int  # tokens to compute without prefix sharing
    computed_tokens: int  # tokens computed with prefix sharing
    strategies: Counter[str | None]  # commands by strategy, or by None
    label_metrics: Metrics
    next_episode: int
    errors: int  # failed episodes

    def with_segments(self, segments: list[Segment], metrics: Metrics) -> Self:
        tokens = sum(len(segment.tokens) for segment in segments)
        return replace(self, segments=segments, tokens=tokens, label_metrics=self.label_metrics | metrics)


class EpisodeSource(Protocol):
    """Adds episodes of other policies to a rollout."""

    def add_to(self, rollout: Rollout, finished_rollouts: int, progress: Progress) -> Rollout:
        """Return `rollout` with additional segments, which hold outputs of the current model.

        `finished_rollouts` counts earlier rollouts of all processes.
        """


def join_rollouts(rollouts: Sequence[Rollout]) -> Rollout:
    """Join the processes' `rollouts`, ordered by rank, into one rollout without segments."""
    processes = len(rollouts)
    # episode i of process r becomes episode i * processes + r
    episodes = [
        replace(e, index=e.index * processes + rank) for rank, rollout in enumerate(rollouts) for e in rollout.episodes
    ]
    return Rollout(
        episodes=sorted(episodes, key=lambda episode: episode.index),
        segments=[],
        tokens=sum(rollout.tokens for rollout in rollouts),
        separate_tokens=sum(rollout.separate_tokens for rollout in rollouts),
        computed_tokens=sum(rollout.computed_tokens for rollout in rollouts),
        strategies=sum((rollout.strategies for rollout in rollouts), Counter()),
        label_metrics={
            name: float(np.mean([rollout.label_metrics[name] for rollout in rollouts]))
            for name in rollouts[0].label_metrics
        },
        next_episode=sum(rollout.next_episode for rollout in rollouts),
        errors=sum(rollout.errors for rollout in rollouts),
    )


def make_runner(
    config: TrainConfig, specs: Sequence[games.GameSpec], *, seed: int, with_expert: bool, advice: str
) -> EpisodeRunner:
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
    """Play the episodes of one iteration, with `dagger_agent` if given, else with `agent`."""
    strategies, failed_before, tokens_before = Counter[str | None](), runner.failures.count, agent.tokens
    separate_before, computed_before = agent.reader.tokens, agent.reader.computed
    episode_count = config.rollout.own_episodes
    progress.begin("rollout", episode_count)

    def count(event: StepEvent) -> None:
        strategies.update([event.info.get("strategy")])
        progress.count(event, agent.tokens - tokens_before)

    agent.forget()  # a rollout that failed has left live episodes
    played = runner.play(dagger_agent or agent, episode_count, on_step=count)
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
    if episode_count and not segments:
        runner.failures.check()
        raise AgentError(f"{config.run.game} offers no choice: every turn has one admissible command")
    return Rollout(
        episodes=episodes,
        segments=segments,
        tokens=sum(len(segment.tokens) for segment in segments),
        separate_tokens=agent.reader.tokens - separate_before,
        computed_tokens=agent.reader.computed - computed_before,
        strategies=strategies,
        label_metrics=label_metrics,
        next_episode=runner.next_episode,
        errors=runner.failures.count - failed_before,
    )


def rollout_metrics(
    rollout: Rollout, schedule: LevelSchedule, strategies: Sequence[str], bonus_command: str
) -> Metrics:
    """Return the metrics of `rollout`, joined from all processes, and update `schedule`."""
    metrics = episode_metrics(rollout.episodes, bonus_command) if rollout.episodes else Metrics()
    if rollout.computed_tokens:
        metrics["rollout_sharing"] = rollout.separate_tokens / rollout.computed_tokens
    metrics |= schedule.update(rollout.episodes) | {"errors": rollout.errors} | rollout.label_metrics
    return metrics | strategy_shares(strategies, rollout.strategies)


def with_advantages(rollout: Rollout, advantages: dict[tuple[int, int], float]) -> Rollout:
    """Copy `rollout` without segments. Steps of the copy hold `advantages`, a dict: (episode, turn) -> advantage."""
    steps = [
        tuple(replace(step, advantage=advantages.get((episode.index, turn))) for turn, step in enumerate(episode.steps))
        for episode in rollout.episodes
    ]
    episodes = [
        replace(episode, steps=episode_steps) for episode, episode_steps in zip(rollout.episodes, steps, strict=True)
    ]
    return replace(rollout, episodes=episodes, segments=[])
