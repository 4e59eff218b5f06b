"""Recorded play as training data (`train --data`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.config import UpdateConfig
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.play.metrics import Metrics
from agents.protocol import AgentError
from agents.storage.checkpoint import AGENT, INITIAL, read_json
from agents.storage.run_folder import DATA
from agents.training import data_file
from agents.training.dagger import best_returns
from agents.training.data_sources import recorded_episodes
from agents.training.episode_streams import converter_of, evaluated_streams
from agents.training.memory_estimate import memory_advice
from agents.training.processes import in_all_processes
from agents.training.progress import Progress
from agents.training.rollout import Rollout
from agents.training.state import save_policy
from games.files import atomic_write

if TYPE_CHECKING:
    from agents.training.trainer import Trainer


class RecordedPlay:
    """Adds recorded episodes to each rollout, in repeated passes of random order.

    Args:
        path: the file with the token streams (see `data_file`).
        count: number of episodes that a process adds to each rollout.
        top_fraction: fraction of each game's episodes that is used.
    """

    def __init__(
        self,
        path: Path,
        model: ActorCritic,
        update: UpdateConfig,
        *,
        count: int,
        top_fraction: float = 1.0,
        vocabulary: int,
        whole_vocabulary: bool = False,
        seed: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.path, self.model, self.update, self.vocabulary = path, model, update, vocabulary
        self.whole_vocabulary, self.seed, self.rank, self.processes = whole_vocabulary, seed, rank, processes
        self._index = data_file.read_index(path, vocabulary)
        _, named, returns, won = self._index
        self._kept = np.flatnonzero(best_returns(named, returns, won, top_fraction=top_fraction))
        if not len(self._kept):
            raise AgentError(f"--data holds no best episode: none of the {len(won)} was won or is better than another")
        self.count = min(count, len(self))
        self.best_return = float(returns.max())

    def __len__(self) -> int:
        return len(self._kept)

    @memory_advice("lower --micro-batch-tokens")
    def segments(self, earlier: int, progress: Progress) -> tuple[list[Segment], Metrics]:
        """Take the next episodes. Return a tuple (segments, metrics).

        `earlier` is the number of rollouts of all processes before this iteration.
        """
        progress.begin("data", self.count)
        drawn = sorted(self._drawn((earlier + self.rank) * self.count))
        rows = [data_file.read_row(self.path, self._index, episode, self.vocabulary) for episode in drawn]
        streams = [
            # the numbers of recorded episodes are negative
            data_file.segments_of(row, number - len(rows), whole_vocabulary=self.whole_vocabulary)
            for number, row in enumerate(rows)
        ]
        segments, agreed = evaluated_streams(self.model, self.update, streams, [row["bootstrap"] for row in rows])
        progress.done = self.count
        metrics = {"data_passes": (earlier + self.processes) * self.count / len(self)}
        return segments, metrics | ({"data_agreement": float(np.mean(agreed))} if agreed else {})

    def added_to(self, played: Rollout, earlier: int, progress: Progress) -> Rollout:
        segments, metrics = self.segments(earlier, progress)
        return played.with_segments([*segments, *played.segments], metrics)

    def _drawn(self, first: int) -> Iterator[int]:
        """Yield the indices of the next episodes. `first` counts from the start of the first pass."""
        order: NDArray[np.int64] = self._kept
        for number in range(first, first + self.count):
            done, index = divmod(number, len(self))
            if number == first or index == 0:
                order = np.random.default_rng([self.seed, 3, done]).permutation(self._kept)
            yield int(order[index])


def open_recorded_play(trainer: "Trainer") -> None:
    """Add the recorded episodes of a run to `trainer.sources`."""
    path = trainer.folder.path / DATA
    is_new = trainer.accelerator.is_main_process and not trainer.iteration and not path.exists()
    in_all_processes(lambda: _convert(trainer, path) if is_new else None)
    recorded = in_all_processes(lambda: _open(trainer, path))
    trainer.sources.append(recorded)
    _want_best_return(trainer, recorded.best_return)


def _convert(trainer: "Trainer", path: Path) -> None:
    converter = converter_of(trainer.agent, trainer.schedule.specs, trainer.updater.optimizer.labels)
    atomic_write(path, converter.lines(recorded_episodes(trainer.config, trainer.schedule.in_play())))
    trainer.notes.append(f"recorded episodes: {converter.episodes:,}, with {converter.turns:,} turns in total")
    if converter.foreign:
        trainer.notes.append(f"recorded commands that are not admissible and not imitated: {converter.foreign:,}")
    if converter.other_games:
        trainer.notes.append(f"recorded episodes of games that this run does not play: {converter.other_games:,}")


def _open(trainer: "Trainer", path: Path) -> RecordedPlay:
    config, accelerator = trainer.config, trainer.accelerator
    return RecordedPlay(
        path,
        trainer.updater.model,
        config.update,
        count=config.rollout.recorded_episodes,
        top_fraction=config.imitation.top_fraction if trainer.updater.optimizer.labels == "best" else 1.0,
        vocabulary=len(trainer.agent.tokenizer),
        whole_vocabulary=trainer.agent.mode == "free",
        seed=config.run.seed,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )


def _want_best_return(trainer: "Trainer", best: float) -> None:
    """Set the wanted return to `best`, unless the user has given one."""
    returns = trainer.agent.prompt.returns
    if returns is None:
        return
    if returns.wanted is not None:
        if returns.wanted > best:
            trainer.notes.append(f"--wanted-return is above {best:g}, the best return of the recorded play")
        return
    returns.wanted = best
    if not trainer.iteration:  # the initial agent was saved without it
        initial = trainer.folder.path / INITIAL
        is_main = trainer.accelerator.is_main_process
        trained_on = in_all_processes(lambda: read_json(initial / AGENT)["trained_on"] if is_main else [])
        save_policy(trainer, initial, trained_on=trained_on)
