"""The training loop. An iteration collects a rollout, updates the model and records metrics."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

import games
from actde.config import option
from agents.config import ModelConfig, TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play import transcript
from agents.play.episode import Episode
from agents.play.metrics import RECENT, Metrics
from agents.play.runner import EpisodeRunner
from agents.protocol import DivergenceError
from agents.storage.resume_check import check_resumed
from agents.storage.run_folder import RunFolder
from agents.training import trackers
from agents.training.dagger import DAggerAgent
from agents.training.divergence import check_update, divergence_error
from agents.training.held_out import HeldOutGames
from agents.training.level_schedule import LevelSchedule
from agents.training.memory_estimate import peak_memory
from agents.training.probe import Probe
from agents.training.processes import gather, in_all_processes, in_main_process
from agents.training.progress import Progress
from agents.training.rollout import (
    EpisodeSource,
    Rollout,
    join_rollouts,
    play_rollout,
    rollout_metrics,
    with_advantages,
)
from agents.training.rollout_batch import RolloutBatch
from agents.training.state import is_best, load_state, save_best, save_checkpoint, save_initial, state_of
from agents.training.updater import Updater, set_learning_rates
from agents.user_optimizer import one_line_errors
from games.errors import noticing_changes
from games.failures import Failures


@dataclass(kw_only=True, slots=True)
class Trainer:
    """A training run, built by `make_trainer`. Iterate over `run()` to train. Leaving this loop ends the run.

    Attributes:
        stopping: set it to True in any process to save a checkpoint after the current iteration and stop.
        stopped: whether `stopping` has ended the run.
        iteration: number of finished iterations.
        env_steps: number of commands that all processes have played.
        failures: failed episodes of all processes. It is set when the run ends.
    """

    config: TrainConfig
    model_config: ModelConfig
    folder: RunFolder
    accelerator: Accelerator
    updater: Updater
    agent: LanguageModelAgent
    dagger_agent: DAggerAgent | None
    runner: EpisodeRunner
    schedule: LevelSchedule
    strategies: Sequence[str]
    trained_on: list[str]  # hashes of games
    probe: Probe | None
    held_out: HeldOutGames | None
    notes: list[str]
    sources: list[EpisodeSource] = field(default_factory=list)
    stopping: bool = False
    stopped: bool = False
    progress: Progress = field(default_factory=Progress)
    failures: Failures = field(default_factory=Failures)
    iteration: int = 0
    rollouts: int = 0  # finished rollouts of all processes
    saved: int = 0  # iteration of the newest checkpoint
    env_steps: int = 0
    seconds: float = 0.0
    # whether the newest episodes without an expert were won
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))

    def start(self, *, resume: bool, initial_games: Sequence[str]) -> None:
        """Create the folder of the run. With `resume`, load the newest checkpoint first.

        `initial_games` are hashes of the training games of `--init`.
        """
        try:
            with noticing_changes(self.folder.path):
                damaged = self._resume() if resume else {}
                arguments = self.folder.path, self.iteration, self.schedule.specs, self.config.budget
                in_all_processes(lambda: check_resumed(*arguments))
                self.updater.gather()
                episodes = sum(gather(self.runner.next_episode))
                totals = {"episodes": episodes, "env_steps": self.env_steps, "seconds": self.seconds}
                in_main_process(self.accelerator, lambda: self._create(damaged, totals if resume else None))
                save_initial(self, initial_games)
                in_all_processes(lambda: trackers.start(self.accelerator, self.folder))
        except BaseException:
            self.folder.unlock()
            raise
        if resume and self.limit:
            message = f"the run in {self.folder.path} is complete: it ended after iteration {self.iteration}"
            self.notes.append(f"{message}; a larger {option(self.limit)} continues it")

    def _create(self, damaged: Mapping[Path, str], totals: Mapping[str, float] | None) -> None:
        if totals:
            self.folder.truncate(self.iteration, totals)
            if not self.iteration:
                self.notes.append(f"{self.folder.path} has no checkpoint, so the training starts again")
        self.notes += self.folder.set_aside(damaged)
        self.folder.prune()
        self.folder.create()

    def run(self) -> Iterator[Metrics]:
        """Train until the budget is spent, and yield the metrics of each iteration. Checkpoints are saved regularly."""
        with self.folder.in_use():
            try:
                in_all_processes(self._probe, *self.updater.models)
                while not self._should_end():
                    metrics = self.iterate()
                    in_all_processes(self._probe, *self.updater.models)
                    if self.iteration % self.config.budget.save_every == 0 or self.finished or is_best(self):
                        self.save()
                    yield metrics
                if self.iteration > self.saved:
                    self.save()
                self.failures = Failures.total(gather(self.runner.failures))
                if not self.stopped:
                    self.failures.check()
            except games.FatalGameError:  # the user can correct the game or the reward function and resume
                if self.iteration:
                    self.save()
                raise
            except DivergenceError as error:
                if self.accelerator.is_main_process:
                    self.folder.log_divergence(self.iteration + 1, str(error))
                raise divergence_error(error, self.iteration + 1, self.folder.path) from None
            finally:
                self.runner.close()
                trackers.finish(self.accelerator, self.folder.path)
                if not self.iteration and self.accelerator.is_main_process:
                    self.folder.discard()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or `stop_success` is reached."""
        return self.limit is not None

    @property
    def limit(self) -> str | None:
        """Name of the setting whose limit is reached, or None."""
        measured = len(self.recent) == RECENT and self.schedule.at_last_level
        return self.config.budget.reached(
            iterations=self.iteration,
            env_steps=self.env_steps,
            minutes=self.seconds / 60,
            stop_success=sum(self.recent) / RECENT if measured else 0.0,
        )

    def iterate(self) -> Metrics:
        """Collect a rollout, update the model and return the metrics of the iteration."""
        initial_metrics = {} if self.iteration else self._evaluate()
        play_start = time.perf_counter()
        played = self._play()
        update_start = time.perf_counter()
        rollout, update_metrics, advantages = self._learn(played.segments)
        in_all_processes(lambda: check_update(self.updater, rollout), *self.updater.models)
        update_end = time.perf_counter()
        seconds = gather(update_end - play_start)[0]
        all_played = join_rollouts(gather(with_advantages(played, rollout.by_turn(advantages))))
        steps = sum(len(episode.steps) for episode in all_played.episodes)
        self.recent.extend(bool(episode.won) for episode in all_played.episodes if not episode.with_expert)
        self.env_steps, self.seconds = self.env_steps + steps, self.seconds + seconds
        metrics = {
            "iteration": self.iteration,
            "episodes": all_played.next_episode,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            **rollout_metrics(all_played, self.schedule, self.strategies, self.config.reward.bonus_command),
            **({"recent_success": sum(self.recent) / len(self.recent)} if self.recent else {}),
            **update_metrics,
            "rollout_seconds": update_start - play_start,
            "update_seconds": update_end - update_start,
            "steps_per_second": steps / seconds,
            "tokens_per_second": all_played.tokens / seconds,
            "peak_memory": max(gather(peak_memory(self.accelerator.device))),
        }
        self.iteration += 1
        self.rollouts += self.accelerator.num_processes
        metrics |= {f"initial_{name}": value for name, value in initial_metrics.items()}
        try:
            metrics |= self._evaluate()
        except games.FatalGameError:  # the iteration is complete without the evaluation
            in_main_process(self.accelerator, lambda: self._record(metrics, all_played.episodes))
            raise
        in_main_process(self.accelerator, lambda: self._record(metrics, all_played.episodes))
        return metrics

    def _probe(self) -> None:
        is_due = self.iteration % self.config.probe.probe_every == 0 or self.finished
        if self.probe and self.accelerator.is_main_process and is_due and not self.folder.has_probe(self.iteration):
            self.folder.log_probe(self.iteration, self.probe.measure())

    def _evaluate(self) -> Metrics:
        """Return the metrics of the held-out games, or {} if no evaluation is due."""
        if self.held_out is None or not (self.iteration % self.held_out.every == 0 or self.finished):
            return {}
        metrics = self.held_out.measure(self.iteration, self.progress)
        if not self.iteration:
            save_best(self)
        return metrics

    def _should_end(self) -> bool:
        self.stopped = any(gather(self.stopping)) and not self.finished
        return self.stopped or self.finished

    def _play(self) -> Rollout:
        """Play a rollout. If one process fails, undo the rollout in all processes."""
        saved_state = self.runner.next_episode, dict(self.runner.continuations), torch.get_rng_state()
        try:
            return in_all_processes(self._play_own, *self.updater.models)
        except ValueError:
            self.runner.next_episode, self.runner.continuations, random_state = saved_state
            torch.set_rng_state(random_state)
            raise

    def _play_own(self) -> Rollout:
        self.updater.model.train(self.config.rollout.rollout_dropout)
        self.runner.specs = self.schedule.in_play()
        if self.dagger_agent:
            self.dagger_agent.beta = self.config.imitation.beta_at(self.iteration)
        labels, players = self.updater.optimizer.labels, (self.agent, self.dagger_agent)
        rollout = play_rollout(self.config, self.runner, *players, labels=labels, progress=self.progress)
        for source in self.sources:
            rollout = source.add_to(rollout, self.rollouts, self.progress)
        return rollout

    def _learn(self, segments: list[Segment]) -> tuple[RolloutBatch, Metrics, torch.Tensor]:
        """Update the model. Return a tuple (rollout batch, metrics, advantages [B, T])."""
        config, play = self.config, self.config.rollout
        rollout = RolloutBatch(segments, credit=play.credit, group_size=play.group_size, device=self.accelerator.device)
        self.updater.model.train()
        set_learning_rates(self.updater.torch_optimizer, config.update, self.iteration, config.budget.iterations)
        rng = np.random.default_rng([config.run.seed, 1, self.iteration])
        with one_line_errors(self.updater.optimizer):
            metrics, targets = self.updater.learn(rollout, rng, self.progress)
        return rollout, metrics, targets.advantages

    def _record(self, metrics: Metrics, episodes: Sequence[Episode]) -> None:
        entries = [transcript.Entry(iteration=self.iteration - 1, episode=episode) for episode in episodes]
        transcript.append(self.folder.path / transcript.NAME, entries)
        self.folder.log(metrics)
        with_table = self.iteration % self.config.budget.save_every == 0 or self.finished
        trackers.log(self.accelerator, self.folder.path, metrics, episodes if with_table else ())

    def save(self) -> None:
        """Write a checkpoint of the current state, and delete old checkpoints."""
        state, self.saved = state_of(self), self.iteration
        save_checkpoint(self, *state)
        save_best(self)  # last, because the checkpoint holds its evaluation

    def _resume(self) -> dict[Path, str]:
        """Load the newest undamaged checkpoint. Return a dict: damaged newer checkpoint -> error message."""
        in_main_process(self.accelerator, self.folder.lock)
        # storage that machines share may list a new checkpoint later on some of them
        saved = gather(self.folder.all_checkpoints())[0]
        return self.folder.load_newest(saved, lambda folder: in_all_processes(lambda: load_state(self, folder)))
