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
    """The replay buffer of one process. Its episodes are ordered by time."""

    def __init__(
        self, config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[games.GameSpec], labels: Labels
    ) -> None:
        self.config, self.model, self.labels = config, agent.model, labels
        self._converter = converter_of(agent, specs, labels if labels in ("expert", "return") else "none")
        self.episodes = list[Episode]()
        self._streams = list[list[Segment] | None]()  # None before the first use

    def add(self, episodes: Sequence[Episode]) -> None:
        """Add episodes in order of time. If there are too many, drop some (see `selected`)."""
        if self.labels == "expert":
            episodes = [episode for episode in episodes if episode.with_expert]
        known, everything = len(self.episodes), [*self.episodes, *episodes]
        kept = selected(
            everything,
            self.config.rollout.buffer_episodes,
            keep=self.config.rollout.buffer_keep,
            gamma=self.config.optimizer.gamma,
        )
        self._streams = [self._streams[i] if i < known else None for i in kept]
        self.episodes = [everything[i] for i in kept]

    @memory_advice("lower --buffer-episodes or --micro-batch-tokens")
    def added_to(self, played: Rollout, earlier: int, progress: Progress) -> Rollout:
        """Add the buffered episodes to `played`, and its own episodes to the buffer."""
        size = len(self.episodes)
        progress.begin("buffer", size)
        # the numbers of buffered episodes are negative
        kept = [replace(episode, index=number - size) for number, episode in enumerate(self.episodes)]
        self._streams = [
            (self._converter.segments(episode) if episode.steps else []) if stream is None else stream
            for episode, stream in zip(kept, self._streams, strict=True)
        ]
        streams = [
            [replace(segment, episode=episode.index) for segment in stream or ()]
            for episode, stream in zip(kept, self._streams, strict=True)
        ]
        truncated = [episode.truncated and not episode.terminated for episode in kept]
        segments = evaluated_streams(self.model, self.config.update, streams, truncated)[0] + played.segments
        metrics: Metrics = {"buffer_size": size}
        if self.labels == "best":
            top_fraction, gamma = self.config.imitation.top_fraction, self.config.optimizer.gamma
            everything = [*kept, *played.episodes]
            segments, ranked = label_best_episodes(segments, everything, top_fraction=top_fraction, gamma=gamma)
            metrics |= ranked
        self.add(played.episodes)
        progress.done = size
        return played.with_segments(segments, metrics)


def selected(episodes: Sequence[Episode], size: int, *, keep: Literal["best", "latest"], gamma: float) -> list[int]:
    """Return the indices of the episodes to keep, in increasing order.

    "best" first keeps the best episode of each game, then the second best of each, and so on. Episodes are ranked by
    discounted return.
    """
    everything = range(len(episodes))
    if keep == "latest":
        return list(everything[-size:])
    returns = [discounted_return(episode, gamma) for episode in episodes]
    best_first = sorted(everything, key=lambda index: (-returns[index], -index))
    ranks, seen = dict[int, int](), Counter[str]()
    for index in best_first:
        game = episodes[index].game
        ranks[index], seen[game] = seen[game], seen[game] + 1
    return sorted(sorted(best_first, key=ranks.__getitem__)[:size])


def filled_buffer(trainer: "Trainer") -> ReplayBuffer:
    """Return the replay buffer of a run. In a resumed run, it holds the earlier episodes."""
    config, accelerator = trainer.config, trainer.accelerator
    buffer = ReplayBuffer(config, trainer.agent, trainer.schedule.specs, trainer.updater.optimizer.labels)
    if not trainer.iteration:
        return buffer
    rank, processes = accelerator.process_index, accelerator.num_processes
    entries = transcript.read(trainer.folder.path / transcript.NAME)
    for _, group in groupby(entries, key=lambda entry: entry.iteration):
        buffer.add([entry.episode for entry in group if entry.episode.index % processes == rank])
    return buffer
