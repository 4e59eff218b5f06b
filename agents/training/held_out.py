"""Evaluates the model on held-out games during training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.play.episode import Episode, wins
from agents.play.evaluate import estimate, evenly_spaced, wilson
from agents.play.live_episode import Game
from agents.play.metrics import Metrics
from agents.play.runner import EpisodeRunner
from agents.training.memory_estimate import SMALLER_ROLLOUT, memory_advice
from agents.training.processes import gather, in_all_processes
from agents.training.progress import Progress


class Best(NamedTuple):
    """The best evaluation so far. `value` is the success rate or the mean return."""

    iteration: int
    value: float


class HeldOutGames:
    """Evaluates the model on held-out games, and stores the best evaluation."""

    def __init__(
        self, specs: Sequence[Game], config: TrainConfig, *, agent: LanguageModelAgent, rank: int, processes: int
    ) -> None:
        self.every, self._episodes = config.evaluation.eval_every, config.evaluation.eval_episodes
        self._specs, self._rollout = evenly_spaced(specs, self._episodes), config.rollout
        self._rank, self._processes = rank, processes
        # derived from the run's seed, so that the episodes differ from those of the training
        self._seed = int(np.random.SeedSequence([config.run.seed, 2]).generate_state(1)[0])
        self._agent = agent.twin(seed=self._seed)
        self.best: Best | None = None

    def measure(self, iteration: int, progress: Progress) -> Metrics:
        """Play the games and return the metrics. All processes must call this method."""
        results = gather(in_all_processes(lambda: self._play(progress), self._agent.model))
        episodes = [episode for process_episodes, _ in results for episode in process_episodes]
        won = wins(episodes)
        name = "eval_success" if won else "eval_reward"
        result = wilson(won) if won else estimate([episode.reward for episode in episodes])
        if result is None:
            raise ValueError("expected at least one episode")
        if self.best is None or result.value > self.best.value:
            self.best = Best(iteration, result.value)
        bounds = {"": result.value, "_low": result.low, "_high": result.high}
        metrics = {f"{name}{suffix}": value for suffix, value in bounds.items() if value is not None}
        return metrics | {"eval_errors": sum(errors for _, errors in results)}

    @memory_advice(SMALLER_ROLLOUT)
    def _play(self, progress: Progress) -> tuple[list[Episode], int]:
        """Play the episodes of this process. Return a tuple (episodes, number of failed episodes)."""
        first, stop = (rank * self._episodes // self._processes for rank in (self._rank, self._rank + 1))
        progress.begin("evaluation", stop - first)
        tokens_before = self._agent.tokens
        self._agent.forget()
        with (
            self._agent.model.mode(training=False),
            EpisodeRunner(
                self._specs,
                seed=self._seed,
                parallel=self._rollout.parallel,
                max_turns=self._rollout.max_turns,
                first_episode=first,
            ) as runner,
        ):
            played = runner.play(
                self._agent,
                stop - first,
                on_step=lambda event: progress.count(event, self._agent.tokens - tokens_before),
            )
            episodes = sorted(played, key=lambda episode: episode.index)
            runner.failures.check()
        self._agent.forget()
        return episodes, runner.failures.count
