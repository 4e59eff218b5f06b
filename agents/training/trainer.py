"""The training loop: play a rollout, learn from it, write down what happened, and again.

One iteration is `episodes` episodes and `epochs` passes over them. The loop is a generator of metrics, so
whoever runs it shows progress, and stops it by stopping to ask. It is written against `accelerate`: device,
several processes and trackers are its affair, one process on a CPU is the plain case. Leaves out what an
optimizer is (`actde`), how a gradient step is made (update.py) and how a screen looks (the command line).
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

import games
from actde import OptimizerConfig, make_optimizer
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.model.build import assemble
from agents.play import transcript
from agents.play.episode import Episode, Step
from agents.play.metrics import Metrics, StrategyShares, episode_metrics, strategies_of
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.storage.checkpoint import (
    STATE,
    TRAINING,
    WEIGHTS,
    load_tensors,
    read_json,
    read_tensors,
    save_agent,
    verify,
)
from agents.storage.run_folder import INITIAL, RunFolder
from agents.text.prompt import prompt_format
from agents.training.dagger import DAggerAgent, Expert, labelled_best
from agents.training.factory import (
    assembly_of_run,
    frozen_copy,
    load_torch_optimizer,
    process_seed,
    torch_optimizer_tensors,
    vocabulary,
)
from agents.training.level_schedule import LevelSchedule
from agents.training.memory_estimate import MemoryNeeds, available, check_memory
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer, set_learning_rates
from agents.training.warm_start import load_prior
from games.game_hash import game_hash
from games.textworld.generation.reserved_seeds import refuse_reserved

RECENT = 100
"""Episodes over which `recent_success` is counted."""


class Trainer:
    """A run from its first iteration, or from its newest checkpoint. Iterate over `run()`."""

    def __init__(self, settings: TrainConfig, learning: OptimizerConfig, out: Path, *, resume: bool = False) -> None:
        self.optimizer = make_optimizer(settings.optimizer, learning)
        taught = self.optimizer.labels == "teacher"
        if taught and not settings.asks_model and (settings.promote or settings.stop_success):
            raise AgentError(
                "--promote and --stop-success count the model's wins, but the teacher plays every turn; "
                "give --beta below 1"
            )
        self.specs = games.resolve(settings.game)
        refuse_reserved(self.specs)
        self.curriculum = LevelSchedule(self.specs, promote=settings.promote, episodes=settings.promote_episodes)
        self.strategies = strategies_of(self.specs[0])
        self.settings, self.learning = settings, learning
        self.folder = RunFolder(out, settings, learning, resume=resume)
        self.accelerator = Accelerator(log_with="tensorboard", project_dir=str(out))
        torch.manual_seed(settings.seed)
        self.assembly = assembly_of_run(settings, q_heads=settings.q_heads if self.optimizer.trains_q else 0)
        self.model, self.tokenizer = assemble(self.assembly, vocabulary(self.specs))
        self.model.to(self.accelerator.device)
        self.notes: list[str] = []
        """What the user should know about how the run begins, a line each."""
        prior_games = self._begin_with_prior() if settings.init else []
        bare = settings.lora and not settings.init  # there the reference is the adapter switched off
        self.reference = frozen_copy(self.model) if learning.kl_coef > 0 and not bare else None
        self._check_memory()
        if settings.gradient_checkpointing:
            self.model.enable_gradient_checkpointing()
        self.stepper = make_torch_optimizer(self.model, settings)
        self.updater = Updater(self.model, self.stepper, self.optimizer, settings, self.accelerator, self.reference)
        seed = process_seed(settings, self.accelerator)
        self.arena = self._make_arena(seed)
        self.agent = self._make_agent(seed)
        self.taught: DAggerAgent | None = None
        """The agent with a teacher at its side, where its commands are imitated."""
        if taught:
            teacher = Expert(prefer_policy=settings.teacher == "policy")
            self.taught = DAggerAgent(self.agent, teacher, greedy=settings.greedy_share)
        self.trained_on: list[str] = sorted({*prior_games, *map(game_hash, self.specs)})
        """Hashes of all games of this run and of its prior's."""
        self.stopping = False
        """Set it to stop after the iteration at hand, with a checkpoint."""
        self.iteration, self.env_steps, self.seconds = 0, 0, 0.0
        self.recent: deque[bool] = deque(maxlen=RECENT)
        if resume:
            self._resume()
        self.accelerator.wait_for_everyone()  # all have looked at the folder
        if self.accelerator.is_main_process:
            self.folder.begin()
        self._keep_initial(prior_games)
        self.accelerator.init_trackers("tensorboard")

    def run(self) -> Iterator[Metrics]:
        """Yield the metrics of each iteration, until the budget is spent; checkpoints are saved on the way."""
        try:
            while not (self.finished or self.stopping):
                metrics = self.iterate()
                if self.iteration % self.settings.save_every == 0 or self.finished or self.stopping:
                    self.save()
                yield metrics
            if self.iteration and not self.folder.checkpoint(self.iteration).exists():
                self.save()  # told to stop after it was yielded
        finally:
            try:
                self.arena.close()
                self.accelerator.end_training()
            finally:
                self.folder.release()

    @property
    def finished(self) -> bool:
        """True once the budget is spent or the wanted success is reached."""
        settings = self.settings
        if self.iteration >= settings.iterations:
            return True
        if settings.env_steps is not None and self.env_steps >= settings.env_steps:
            return True
        if settings.minutes is not None and self.seconds >= 60 * settings.minutes:
            return True
        full = len(self.recent) == RECENT and self.curriculum.at_the_top
        return full and settings.stop_success is not None and sum(self.recent) / RECENT >= settings.stop_success

    def iterate(self) -> Metrics:
        """One rollout and what is learned from it."""
        begin = time.perf_counter()
        self.model.train(self.settings.rollout_dropout)
        shares = StrategyShares(self.strategies)
        self.arena.specs = self.curriculum.in_play()
        if self.taught:
            self.taught.beta = self.settings.beta * self.settings.beta_decay**self.iteration
        played_now = self.arena.play(self.taught or self.agent, self.settings.episodes, on_step=shares.count)
        episodes = sorted(played_now, key=lambda episode: episode.index)
        segments, labels = self._labelled(self.agent.take_segments(), episodes)
        played = time.perf_counter()
        if not segments:
            raise AgentError(f"{self.settings.game} offers no choice: every turn has one admissible command")
        rollout = RolloutBatch(segments, credit=self.settings.credit, device=self.accelerator.device)
        self.model.train()
        set_learning_rates(self.stepper, self.settings, self.iteration)
        rng = np.random.default_rng([self.settings.seed, 1, self.iteration])
        measures, targets = self.updater.learn(rollout, rng)
        learned = time.perf_counter()
        episodes = _with_advantages(episodes, rollout.by_turn(targets.advantages))
        steps = sum(len(episode.steps) for episode in episodes)
        tokens = sum(len(segment.tokens) for segment in segments)
        self.env_steps += steps
        self.recent.extend(episode.won for episode in episodes)
        self.seconds += learned - begin
        metrics = {
            "iteration": self.iteration,
            "episodes": self.arena.next_episode,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            **episode_metrics(episodes, self.settings.bonus_command),
            **self.curriculum.count(episodes),
            **labels,
            **shares.metrics(),
            "recent_success": sum(self.recent) / len(self.recent),
            **measures,
            "rollout_seconds": played - begin,
            "update_seconds": learned - played,
            "steps_per_second": steps / (learned - begin),
            "tokens_per_second": tokens / (learned - begin),
        }
        self.iteration += 1
        if self.accelerator.is_main_process:
            transcript.append(
                self.folder.path / transcript.NAME,
                [transcript.Entry(iteration=self.iteration - 1, episode=episode) for episode in episodes],
            )
            self.folder.log(metrics)
            self.accelerator.log({k: v for k, v in metrics.items() if k != "iteration"}, step=self.iteration - 1)
        return metrics

    def _labelled(self, segments: list[Segment], episodes: Sequence[Episode]) -> tuple[list[Segment], Metrics]:
        """The segments with labels where the optimizer imitates, and what can be said about these."""
        if self.optimizer.labels == "best":
            return labelled_best(segments, episodes, keep=self.settings.keep, gamma=self.learning.gamma)
        if self.taught:
            return segments, {"beta": self.taught.beta, **self.taught.take_metrics()}
        return segments, {}

    def save(self) -> None:
        """Write a checkpoint after the current iteration, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        save_agent(
            self.folder.checkpoint(self.iteration),
            self.model,
            self.tokenizer,
            self.assembly,
            self.description() | {"trained_on": self.trained_on},
            training=torch_optimizer_tensors(self.stepper) | {"torch_rng": torch.get_rng_state()},
            state={
                "iteration": self.iteration,
                "env_steps": self.env_steps,
                "seconds": self.seconds,
                "next_episode": self.arena.next_episode,
                "continuations": self.arena.continuations,
                "recent": list(self.recent),
                "curriculum": self.curriculum.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        )
        self.folder.prune()

    def description(self) -> dict[str, Any]:
        """What `agent.json` says about the agent besides its model."""
        return {
            "name": self.settings.optimizer,
            "prompt": self.agent.prompt.name,
            "mode": self.agent.mode,
            "context": self.agent.context,
            "made_by": {"train": self.settings.to_dict(), "learning": self.learning.to_dict()},
        }

    def _make_arena(self, seed: int) -> EpisodeRunner:
        settings, taught = self.settings, self.optimizer.labels == "teacher"
        return EpisodeRunner(
            self.curriculum.in_play(),
            seed=seed,
            parallel=settings.parallel,
            max_turns=settings.max_turns,
            shaping=settings.shaping(),
            infos=("policy_commands",) if taught and settings.asks_policy else (),
            group_size=settings.group_size,
        )

    def _make_agent(self, seed: int) -> LanguageModelAgent:
        return LanguageModelAgent(
            self.model,
            self.tokenizer,
            name=self.settings.optimizer,
            prompt=prompt_format(self.settings.prompt),
            seed=seed,
            mode=self.settings.mode,
            context=self.settings.context,
            gamma=self.learning.gamma,
            record=True,
        )

    def _begin_with_prior(self) -> list[str]:
        """Take the prior's weights, in a resumed run those that it kept of them; hashes of the games they have seen."""
        kept = self.folder.path / INITIAL
        source = kept if kept.exists() else Path(self.settings.init)
        self.notes, seen = load_prior(self.model, self.tokenizer, self.assembly, source)
        return seen

    def _keep_initial(self, seen: Sequence[str]) -> None:
        """Save the policy before its first step, once; called while the model is not trained yet."""
        folder = self.folder.path / INITIAL
        if self.accelerator.is_main_process and not folder.exists():
            about = self.description() | {"trained_on": list(seen)}
            save_agent(folder, self.model, self.tokenizer, self.assembly, about)

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.claim()
        found = self.folder.checkpoints()
        if not found:
            self._forget_what_follows()
            return
        folder = found[-1]
        verify(folder)
        state, tensors = read_json(folder / STATE), read_tensors(folder / TRAINING)
        weights = read_tensors(folder / WEIGHTS)
        self._keep_initial(())  # where the run was begun by a version that did not
        load_tensors(self.model, weights, folder)
        torch.set_rng_state(tensors.pop("torch_rng"))
        load_torch_optimizer(self.stepper, tensors)
        self.iteration, self.env_steps, self.seconds = state["iteration"], state["env_steps"], state["seconds"]
        self.arena.next_episode, self.arena.continuations = state["next_episode"], state["continuations"]
        self.recent.extend(state["recent"])
        if "curriculum" in state:  # not in checkpoints of versions before promotion
            self.curriculum.load_state_dict(state["curriculum"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._forget_what_follows()

    def _forget_what_follows(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.forget_after(self.iteration)

    def _check_memory(self) -> None:
        """Refuse streams that are longer than memory allows, before anything is played."""
        context = min(self.settings.context or self.model.context, self.model.context)
        free = available(self.accelerator.device) // self.accelerator.num_processes
        check_memory(MemoryNeeds.of(self.model, self.settings), self.settings, context=context, free=free)


def _with_advantages(episodes: Sequence[Episode], found: dict[tuple[int, int], float]) -> list[Episode]:
    def marked(episode: Episode, turn: int, step: Step) -> Step:
        return replace(step, advantage=found.get((episode.index, turn)))

    return [replace(e, steps=tuple(marked(e, turn, step) for turn, step in enumerate(e.steps))) for e in episodes]
