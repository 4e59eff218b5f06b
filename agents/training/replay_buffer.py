"""A replay buffer: episodes of earlier rollouts that join each rollout (`train --buffer-episodes`).

As with recorded play, the current model evaluates the choices of the kept episodes before each update. Checkpoints do
not store the buffer. A resumed run fills it from the transcript of the run, which holds all episodes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import games
from actde.optimizer import Labels
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.recorded_streams import StreamRecorder
from agents.language_model.token_stream import Segment
from agents.play import transcript
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.training.choice_numbers import evaluated_streams
from agents.training.dagger import discounted_return, label_best_episodes
from agents.training.data_file import Converter
from agents.training.hindsight import prompts_of
from agents.training.memory_estimate import memory_advice
from agents.training.processes import in_all_processes
from agents.training.progress import Progress
from agents.training.rollout import Rollout

if TYPE_CHECKING:
    from agents.training.trainer import Trainer


class ReplayBuffer:
    """Episodes that one process has played, up to `config.rollout.buffer_episodes` of them.

    Args:
        config: the settings of the run.
        agent: the agent that plays. Its model is the one that is trained.
        specs: the games of the run.
        labels: the commands to imitate. With "expert", only episodes with an expert are kept, and only the expert's
            commands are imitated. With "best", the best of the kept and new episodes are imitated. With "return", all
            commands are imitated. With "none" and "recorded", no command is imitated.

    Attributes:
        episodes: the kept episodes, ordered by time.
    """

    def __init__(
        self, config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[games.GameSpec], labels: Labels
    ) -> None:
        self.config, self.model, self.labels = config, agent.model, labels
        recorder = StreamRecorder(
            agent.tokenizer, agent.prompt, mode=agent.mode, context=agent.context, gamma=config.optimizer.gamma
        )
        imitated = labels if labels in ("expert", "return") else "none"
        self._converter = Converter(recorder, prompts_of(specs), labels=imitated)
        self.episodes = list[Episode]()
        self._streams = list[list[Segment] | None]()  # None before the first use

    def add(self, episodes: Sequence[Episode]) -> None:
        """Add episodes, given in order of time. If the buffer is then too large, keep those that `selected` chooses."""
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
        """Return a copy of `played` to which the segments of the kept episodes are added.

        In the copy, the kept episodes have negative numbers. The metric `buffer_size` is their number. Afterwards, the
        episodes of `played` are added to the buffer. The arguments are those of `EpisodeSource.added_to`.
        """
        size = len(self.episodes)
        progress.begin("buffer", size)
        kept = [replace(episode, index=number - size) for number, episode in enumerate(self.episodes)]
        for number, episode in enumerate(kept):
            if self._streams[number] is None:
                self._streams[number] = self._converter.segments(episode) if episode.steps else []
        streams = [
            [replace(segment, episode=episode.index) for segment in stream or ()]
            for episode, stream in zip(kept, self._streams, strict=True)
        ]
        truncated = [episode.truncated and not episode.terminated for episode in kept]
        segments = evaluated_streams(self.model, self.config.update, streams, truncated)[0] + played.segments
        metrics: Metrics = {"buffer_size": size}
        if self.labels == "best":
            settings = {"top_fraction": self.config.imitation.top_fraction, "gamma": self.config.optimizer.gamma}
            segments, ranked = label_best_episodes(segments, [*kept, *played.episodes], **settings)
            metrics |= ranked
        self.add(played.episodes)
        progress.done = size
        return played.with_segments(segments, metrics)


def selected(episodes: Sequence[Episode], size: int, *, keep: Literal["best", "latest"], gamma: float) -> list[int]:
    """Return the indices of the episodes that a buffer keeps, at most `size`, in increasing order.

    With `keep` = "latest", the latest episodes are kept. With "best", the best episode of each game is kept first, then
    the second best of each game, and so on. Episodes of a game, and episodes of equal rank, are compared by their
    discounted returns. If these are equal, the later episode is better. A buffer that is filled in several steps keeps
    the same episodes as one that is filled in a single step.
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


def open_replay_buffer(trainer: "Trainer") -> None:
    """Add a replay buffer to `trainer.sources`. In a resumed run, it holds the same episodes as before.

    If the number of processes has changed, the episodes are divided among the new processes.

    Raises:
        AgentError: the transcript of the run is missing or damaged.
    """
    in_all_processes(lambda: trainer.sources.append(_filled(trainer)))


def _filled(trainer: "Trainer") -> ReplayBuffer:
    config, accelerator = trainer.config, trainer.accelerator
    buffer = ReplayBuffer(config, trainer.agent, trainer.schedule.specs, trainer.updater.optimizer.labels)
    if not trainer.iteration:
        return buffer
    rank, processes = accelerator.process_index, accelerator.num_processes
    entries = transcript.read(trainer.folder.path / transcript.NAME)
    for _, group in groupby(entries, key=lambda entry: entry.iteration):
        buffer.add([entry.episode for entry in group if entry.episode.index % processes == rank])
    return buffer
