"""A replay buffer, which adds earlier episodes to each rollout (`train --buffer-episodes`)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import games
from actde.optimizer import Labels
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play import transcript
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.training.dagger import discounted_return, label_best_episodes
from agents.training.episode_streams import converter_of, evaluated_streams
from agents.training.memory_estimate import memory_advice
from agents.training.progress import Progress
from agents.training.rollout import Rollout

if TYPE_CHECKING:
    from agents.training.trainer import Trainer


class ReplayBuffer:
    """The replay buffer of one process. `episodes` are ordered from oldest to newest."""

    def __init__(
        self, config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[games.GameSpec], labels: Labels
    ) -> None:
        self.config, self.model, self.labels = config, agent.model, labels
        self._converter = converter_of(agent, specs, labels if labels in ("expert", "return") else "none")
        self.episodes = list[Episode]()
        self._streams = list[list[Segment] | None]()  # None before the first use

    def add(self, episodes: Sequence[Episode]) -> None:
        """Add episodes. If the buffer becomes too large, drop the oldest or the worst episodes."""
        if self.labels == "expert":
            episodes = [episode for episode in episodes if episode.with_expert]
        old_size, candidates = len(self.episodes), [*self.episodes, *episodes]
        indices = select_indices(
            candidates,
            self.config.rollout.buffer_episodes,
            keep=self.config.rollout.buffer_keep,
            gamma=self.config.optimizer.gamma,
        )
        self._streams = [self._streams[i] if i < old_size else None for i in indices]
        self.episodes = [candidates[i] for i in indices]

    @memory_advice("lower --buffer-episodes or --micro-batch-tokens")
    def add_to(self, rollout: Rollout, finished_rollouts: int, progress: Progress) -> Rollout:
        """Return `rollout` with additional segments from the buffer. Add the episodes of `rollout` to the buffer."""
        size = len(self.episodes)
        progress.begin("buffer", size)
        # the numbers of buffered episodes are negative
        buffered = [replace(episode, index=position - size) for position, episode in enumerate(self.episodes)]
        self._streams = [
            (self._converter.segments(episode) if episode.steps else []) if stream is None else stream
            for episode, stream in zip(buffered, self._streams, strict=True)
        ]
        streams = [
            [replace(segment, episode=episode.index) for segment in stream or ()]
            for episode, stream in zip(buffered, self._streams, strict=True)
        ]
        truncated = [episode.truncated and not episode.terminated for episode in buffered]
        segments = evaluated_streams(self.model, self.config.update, streams, truncated)[0] + rollout.segments
        metrics: Metrics = {"buffer_size": size}
        if self.labels == "best":
            top_fraction, gamma = self.config.imitation.top_fraction, self.config.optimizer.gamma
            all_episodes = [*buffered, *rollout.episodes]
            segments, label_metrics = label_best_episodes(
                segments, all_episodes, top_fraction=top_fraction, gamma=gamma
            )
            metrics |= label_metrics
        self.add(rollout.episodes)
        progress.done = size
        return rollout.with_segments(segments, metrics)


def select_indices(
    episodes: Sequence[Episode], size: int, *, keep: Literal["best", "latest"], gamma: float
) -> list[int]:
    """Select at most `size` episodes: the latest, or the best of each game. Return increasing indices."""
    indices = range(len(episodes))
    if keep == "latest":
        return list(indices[-size:])
    returns = [discounted_return(episode, gamma) for episode in episodes]
    best_first = sorted(indices, key=lambda index: (-returns[index], -index))
    ranks, counts = dict[int, int](), Counter[str]()
    for index in best_first:
        game = episodes[index].game
        ranks[index], counts[game] = counts[game], counts[game] + 1
    # the best episode of each game, then the second best of each game, and so on
    return sorted(sorted(best_first, key=ranks.__getitem__)[:size])


def filled_buffer(trainer: "Trainer") -> ReplayBuffer:
    """Build the replay buffer. In a resumed run, add the episodes of earlier iterations."""
    config, accelerator = trainer.config, trainer.accelerator
    buffer = ReplayBuffer(config, trainer.agent, trainer.schedule.specs, trainer.updater.optimizer.labels)
    if not trainer.iteration:
        return buffer
    rank, processes = accelerator.process_index, accelerator.num_processes
    entries = transcript.read(trainer.folder.path / transcript.NAME)
    for _, iteration_entries in groupby(entries, key=lambda entry: entry.iteration):
        buffer.add([entry.episode for entry in iteration_entries if entry.episode.index % processes == rank])
    return buffer
