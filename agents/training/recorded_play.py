"""Recorded episodes as training data (`train --data`)."""

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
from agents.storage.checkpoint_files import AGENT, INITIAL, read_json
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
    """Adds `count` recorded episodes, in random order, to each rollout.

    If `top_fraction` is below 1, only won episodes and each game's best episodes are used.
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
        _, game_ids, returns, won = self._index
        self._selected = np.flatnonzero(best_returns(game_ids, returns, won, top_fraction=top_fraction))
        if not len(self._selected):
            raise AgentError(f"--data holds no best episode: none of the {len(won)} was won or is better than another")
        self.count = min(count, len(self))
        self.best_return = float(returns.max())

    def __len__(self) -> int:
        return len(self._selected)

    @memory_advice("lower --micro-batch-tokens")
    def segments(self, finished_rollouts: int, progress: Progress) -> tuple[list[Segment], Metrics]:
        """Read the next recorded episodes. Return a tuple (segments, metrics).

        `finished_rollouts` counts earlier rollouts of all processes.
        """
        progress.begin("data", self.count)
        indices = sorted(self._draw((finished_rollouts + self.rank) * self.count))
        rows = [data_file.read_row(self.path, self._index, index, self.vocabulary) for index in indices]
        streams = [
            # the numbers of recorded episodes are negative
            data_file.segments_of(row, position - len(rows), whole_vocabulary=self.whole_vocabulary)
            for position, row in enumerate(rows)
        ]
        segments, agreements = evaluated_streams(self.model, self.update, streams, [row["bootstrap"] for row in rows])
        progress.done = self.count
        metrics = {"data_passes": (finished_rollouts + self.processes) * self.count / len(self)}
        return segments, metrics | ({"data_agreement": float(np.mean(agreements))} if agreements else {})

    def add_to(self, rollout: Rollout, finished_rollouts: int, progress: Progress) -> Rollout:
        segments, metrics = self.segments(finished_rollouts, progress)
        return rollout.with_segments([*segments, *rollout.segments], metrics)

    def _draw(self, start: int) -> Iterator[int]:
        """Yield the indices of `self.count` episodes. `start` counts the episodes drawn before."""
        order: NDArray[np.int64] = self._selected
        for position in range(start, start + self.count):
            data_pass, index = divmod(position, len(self))
            if position == start or index == 0:
                order = np.random.default_rng([self.seed, 3, data_pass]).permutation(self._selected)
            yield int(order[index])


def open_recorded_play(trainer: "Trainer") -> None:
    """Add the recorded episodes of a run to `trainer.sources`."""
    path = trainer.folder.path / DATA
    is_new = trainer.accelerator.is_main_process and not trainer.iteration and not path.exists()
    in_all_processes(lambda: _convert(trainer, path) if is_new else None)
    recorded = in_all_processes(lambda: _open(trainer, path))
    trainer.sources.append(recorded)
    _set_target_return(trainer, recorded.best_return)


def _convert(trainer: "Trainer", path: Path) -> None:
    converter = converter_of(trainer.agent, trainer.schedule.specs, trainer.updater.optimizer.labels)
    atomic_write(path, converter.lines(recorded_episodes(trainer.config, trainer.schedule.in_play())))
    trainer.notes.append(f"recorded episodes: {converter.episodes:,}, with {converter.turns:,} turns in total")
    if converter.inadmissible:
        trainer.notes.append(f"recorded commands that are not admissible and not imitated: {converter.inadmissible:,}")
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


def _set_target_return(trainer: "Trainer", best_return: float) -> None:
    """Use `best_return` as the target return, unless the user has set `--wanted-return`."""
    returns = trainer.agent.prompt.returns
    if returns is None:
        return
    if returns.target is not None:
        if returns.target > best_return:
            trainer.notes.append(f"--wanted-return is above {best_return:g}, the best return of the recorded play")
        return
    returns.target = best_return
    if not trainer.iteration:  # the initial agent was saved without it
        initial = trainer.folder.path / INITIAL
        is_main = trainer.accelerator.is_main_process
        trained_on = in_all_processes(lambda: read_json(initial / AGENT)["trained_on"] if is_main else [])
        save_policy(trainer, initial, trained_on=trained_on)
