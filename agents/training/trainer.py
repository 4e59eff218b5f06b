"""The training loop. Each iteration collects a rollout, updates the model, and records metrics and transcripts."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from agents.play.metrics import RECENT, Metrics, episode_metrics, strategy_shares
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.storage.checkpoint import TRAINING, checkpoints, load_tensors, loading_tensors, save_agent
from agents.storage.run_folder import INITIAL, TENSORBOARD, RunFolder
from agents.storage.training_state import read_training
from agents.training.dagger import DAggerAgent, label_best_episodes
from agents.training.level_schedule import LevelSchedule
from agents.training.probe import Probe
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, load_torch_optimizer, set_learning_rates, torch_optimizer_tensors


@dataclass(kw_only=True, slots=True)
class Trainer:
    """A training run, built by `make_trainer`. Iterate over `run()` to train. Leaving that loop ends the run.

    Attributes:
        model_config: the configuration of the model. It has no Q heads if the optimizer does not train q.
        dagger_agent: the agent that plays with an expert, or None if the optimizer does not imitate an expert.
        strategies: names of the game's strategies, whose shares are metrics. Most games have none.
        trained_on: hashes of the games of this run and of the earlier runs from which its initial weights come.
        probe: measures texts at fixed prompts, or None if `probe_prompts` is empty.
        notes: notes for the user about the warm start, one line each.
        stopping: set this to True to save a checkpoint after the current iteration and stop.
        recent: whether each of the most recent episodes was won.
    """

    config: TrainConfig
    model_config: ModelConfig
    folder: RunFolder
    accelerator: Accelerator
    updater: Updater
    tokenizer: Any
    agent: LanguageModelAgent
    dagger_agent: DAggerAgent | None
    runner: EpisodeRunner
    schedule: LevelSchedule
    strategies: Sequence[str]
    trained_on: list[str]
    probe: Probe | None
    notes: list[str]
    stopping: bool = False
    iteration: int = 0
    env_steps: int = 0
    seconds: float = 0.0
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))

    def start(self, *, resume: bool, initial_games: Sequence[str]) -> None:
        """Load the newest checkpoint if `resume` is True. Create the run's folder and save the initial policy."""
        if resume:
            self._resume()
        self.accelerator.wait_for_everyone()  # nothing is written until every process has checked the folder
        if self.accelerator.is_main_process:
            self.folder.create()
            initial = self.folder.path / INITIAL
            if not initial.exists():
                self._save_agent(initial, trained_on=list(initial_games))
        self.accelerator.init_trackers(TENSORBOARD)
        if resume and self.limit:
            ended = f"the run in {self.folder.path} is complete: it ended after iteration {self.iteration}"
            self.notes.append(f"{ended}; a larger {option(self.limit)} continues it")

    def run(self) -> Iterator[Metrics]:
        """Train until the budget is spent, and yield the metrics of each iteration. Save checkpoints regularly.

        If a reward function fails, the state after the last complete iteration is saved, and the error is raised. If a
        new run ends before its first iteration is complete, its folder is emptied.
        """
        try:
            self._probe()
            while not (self.finished or self.stopping):
                metrics = self.iterate()
                self._probe()
                if self.iteration % self.config.budget.save_every == 0 or self.finished or self.stopping:
                    self.save()
                yield metrics
            if self.iteration and not self.folder.checkpoint(self.iteration).exists():
                self.save()  # `stopping` was set after the yield
        except games.FatalGameError:  # the user can correct the game or the reward function and resume
            if self.iteration:
                self.save()
            raise
        finally:
            try:
                self.runner.close()
                self.accelerator.end_training()
                if not self.iteration and self.accelerator.is_main_process:
                    self.folder.discard()
            finally:
                self.folder.unlock()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or `stop_success` is reached."""
        return self.limit is not None

    @property
    def limit(self) -> str | None:
        """The setting that ends the run: the first limit that is reached, or None before that."""
        budget, measured = self.config.budget, len(self.recent) == RECENT and self.schedule.at_last_level
        success = sum(self.recent) / RECENT if measured else 0.0
        reached = {
            "iterations": self.iteration,
            "env_steps": self.env_steps,
            "minutes": self.seconds / 60,
            "stop_success": success,
        }
        limits = {name: getattr(budget, name) for name in reached}
        return next((name for name, end in limits.items() if end is not None and reached[name] >= end), None)

    def iterate(self) -> Metrics:
        """Collect one rollout, update the model, and return the metrics of this iteration."""
        begin = time.perf_counter()
        before = self.runner.next_episode, dict(self.runner.continuations), torch.get_rng_state()
        try:
            episodes, segments, play_metrics = self._play()
        except games.FatalGameError:
            self.runner.next_episode, self.runner.continuations, random_state = before
            torch.set_rng_state(random_state)
            raise
        played = time.perf_counter()
        rollout, update_metrics, advantages = self._learn(segments)
        learned = time.perf_counter()
        episodes = _with_advantages(episodes, rollout.by_turn(advantages))
        steps = sum(len(episode.steps) for episode in episodes)
        tokens = sum(len(segment.tokens) for segment in segments)
        self.env_steps += steps
        self.recent.extend(episode.won for episode in episodes)
        self.seconds += learned - begin
        metrics = {
            "iteration": self.iteration,
            "episodes": self.runner.next_episode,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            **play_metrics,
            "recent_success": sum(self.recent) / len(self.recent),
            **update_metrics,
            "rollout_seconds": played - begin,
            "update_seconds": learned - played,
            "steps_per_second": steps / (learned - begin),
            "tokens_per_second": tokens / (learned - begin),
        }
        self.iteration += 1
        if self.accelerator.is_main_process:
            self._record(metrics, episodes)
        return metrics

    def _probe(self) -> None:
        """Measure texts if a probe is due after this iteration and the folder does not hold it yet."""
        if self.probe is None or not self.accelerator.is_main_process:
            return
        due = self.iteration % self.config.probe.probe_every == 0 or self.finished
        if due and not self.folder.has_probe(self.iteration):
            self.folder.log_probe(self.iteration, self.probe.measure())

    def _play(self) -> tuple[list[Episode], list[Segment], Metrics]:
        """Play one rollout. Return a tuple: its episodes ordered by number, the segments of the update, and metrics."""
        config, strategies = self.config, Counter[str | None]()
        self.updater.model.train(config.rollout.rollout_dropout)
        self.runner.specs = self.schedule.in_play()
        if self.dagger_agent:
            self.dagger_agent.beta = config.imitation.beta * config.imitation.beta_decay**self.iteration
        played = self.runner.play(
            self.dagger_agent or self.agent,
            config.rollout.episodes,
            on_step=lambda event: strategies.update([event.info.get("strategy")]),
        )
        episodes = sorted(played, key=lambda episode: episode.index)
        segments, label_metrics = self._labelled(self.agent.take_segments(), episodes)
        if not segments:
            raise AgentError(f"{config.run.game} offers no choice: every turn has one admissible command")
        metrics = episode_metrics(episodes, config.reward.bonus_command) | self.schedule.update(episodes)
        return episodes, segments, metrics | label_metrics | strategy_shares(self.strategies, strategies)

    def _labelled(self, segments: list[Segment], episodes: Sequence[Episode]) -> tuple[list[Segment], Metrics]:
        """Return a tuple: the segments, labelled if the optimizer imitates, and the metrics of the labels."""
        if self.updater.optimizer.labels == "best":
            top_fraction, gamma = self.config.imitation.top_fraction, self.config.optimizer.gamma
            return label_best_episodes(segments, episodes, top_fraction=top_fraction, gamma=gamma)
        if self.dagger_agent:
            return segments, {"beta": self.dagger_agent.beta, **self.dagger_agent.take_metrics()}
        return segments, {}

    def _learn(self, segments: list[Segment]) -> tuple[RolloutBatch, Metrics, torch.Tensor]:
        """Update the model. Return a tuple: the rollout's batch, metrics, and the advantages [B, T]."""
        config, optimizer = self.config, self.updater.torch_optimizer
        credit, group_size = config.rollout.credit, config.rollout.group_size
        rollout = RolloutBatch(segments, credit=credit, group_size=group_size, device=self.accelerator.device)
        self.updater.model.train()
        set_learning_rates(optimizer, config.update, self.iteration, config.budget.iterations)
        rng = np.random.default_rng([config.run.seed, 1, self.iteration])
        metrics, targets = self.updater.learn(rollout, rng)
        return rollout, metrics, targets.advantages

    def _record(self, metrics: Metrics, episodes: Sequence[Episode]) -> None:
        iteration = self.iteration - 1
        entries = [transcript.Entry(iteration=iteration, episode=episode) for episode in episodes]
        transcript.append(self.folder.path / transcript.NAME, entries)
        self.folder.log(metrics)
        self.accelerator.log({name: value for name, value in metrics.items() if name != "iteration"}, step=iteration)

    def save(self) -> None:
        """Write a checkpoint of the current state atomically, and delete old checkpoints."""
        if not self.accelerator.is_main_process:
            return
        tensors = torch_optimizer_tensors(self.updater.torch_optimizer) | {"torch_rng": torch.get_rng_state()}
        state = {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            "next_episode": self.runner.next_episode,
            "continuations": self.runner.continuations,
            "recent": list(self.recent),
            "level_schedule": self.schedule.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
        }
        folder = self.folder.checkpoint(self.iteration)
        self._save_agent(folder, trained_on=self.trained_on, training=tensors, state=state)
        self.folder.prune()

    def _save_agent(self, folder: Path, *, trained_on: list[str], **training: Any) -> None:
        description = {
            "name": self.config.run.optimizer,
            "prompt": self.agent.prompt.name,
            "mode": self.agent.mode,
            "context": self.agent.context,
            "made_by": self.config.model_dump(),
            "trained_on": trained_on,
        }
        save_agent(folder, self.updater.model, self.tokenizer, self.model_config, description, **training)

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.lock()
        if complete := checkpoints(self.folder.path):
            self._load(complete[-1])
        if self.accelerator.is_main_process:
            totals = {"episodes": self.runner.next_episode, "env_steps": self.env_steps, "seconds": self.seconds}
            self.folder.truncate(self.iteration, totals)

    def _load(self, folder: Path) -> None:
        state, weights, tensors = read_training(folder, self.config)
        with loading_tensors(folder / TRAINING):
            torch.set_rng_state(tensors.pop("torch_rng"))
            load_torch_optimizer(self.updater.torch_optimizer, tensors)
        load_tensors(self.updater.model, weights, folder)
        self.iteration, self.env_steps, self.seconds = state.iteration, state.env_steps, state.seconds
        self.runner.next_episode = state.next_episode
        self.runner.continuations = {slot: dict(each) for slot, each in state.continuations.items()}
        self.recent.extend(state.recent)
        self.schedule.load_state_dict(dict(state.level_schedule))
        self.updater.optimizer.load_state_dict(state.optimizer)


def _with_advantages(episodes: Sequence[Episode], advantages: dict[tuple[int, int], float]) -> list[Episode]:
    """Return the episodes with the advantage of every command. The keys of `advantages` are (episode, turn)."""
    steps = [
        tuple(replace(step, advantage=advantages.get((e.index, turn))) for turn, step in enumerate(e.steps))
        for e in episodes
    ]
    return [replace(episode, steps=row) for episode, row in zip(episodes, steps, strict=True)]
