"""Our agents as benchmarks need them: a model by the presets of `train`, its rollouts on tapes and its updates.

The pieces are `train`'s own (arena, agent, updater); run folders, transcripts and checkpoints are left out.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from actde import OptimizerConfig, make_optimizer
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import ModelConfig, assemble
from agents.play.live_episode import Game
from agents.play.runner import EpisodeRunner
from agents.protocol import EpisodeEnd, Turn
from agents.training import presets
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer

GAME = "textworld:simple?seed=1"
"""Names the presets; what is played are tapes."""


class Player:
    """A language model that plays and learns, with the presets of its trunk where nothing else is said."""

    def __init__(self, explicit: dict[str, Any], *, model: ActorCritic | None = None, tokenizer: Any = None) -> None:
        resolved: tuple[TrainConfig, OptimizerConfig] = presets.resolve({"game": GAME} | explicit)
        self.settings, self.learning = resolved
        self.optimizer = make_optimizer(self.settings.optimizer, self.learning)
        torch.manual_seed(self.settings.seed)
        if model is None:
            model, tokenizer = assemble(self._assembly(), None)
        self.model, self.tokenizer = model, tokenizer
        self.stepper = make_torch_optimizer(model, self.settings)
        self.updater = Updater(model, self.stepper, self.optimizer, self.settings, Accelerator())

    def agent(self, **settings: Any) -> LanguageModelAgent:
        """A new agent that plays with the model as it is now."""
        given = {"context": self.settings.context, "gamma": self.learning.gamma, "mode": self.settings.mode}
        return LanguageModelAgent(self.model, self.tokenizer, **(given | settings))

    def rollout(self, specs: Sequence[Game], *, parallel: int | None = None) -> RolloutBatch:
        """Play every game of `specs` once."""
        self.model.train(self.settings.rollout_dropout)
        agent = self.agent(record=True)
        with EpisodeRunner(specs, seed=0, parallel=parallel or self.settings.parallel) as arena:
            for _ in arena.play(agent, len(specs)):
                pass
        return RolloutBatch(agent.take_segments(), credit=self.settings.credit)

    def update(self, rollout: RolloutBatch) -> dict[str, float]:
        """Learn from a rollout: all its gradient steps; the measures."""
        self.model.train()
        measures, _ = self.updater.learn(rollout, np.random.default_rng(0))
        return measures

    def _assembly(self) -> ModelConfig:
        values = {spec.name: getattr(self.settings, spec.name) for spec in fields(ModelConfig)}
        return ModelConfig(**(values | {"q_heads": self.settings.q_heads if self.optimizer.trains_q else 0}))


class Text:
    """The stream of one episode as tokens, kept beside the agent's own for those who encode it from the beginning."""

    def __init__(self, agent: LanguageModelAgent) -> None:
        self.agent = agent
        self.tokens: list[int] = []

    def show(self, turn: Turn) -> None:
        """Append what the game wrote; the command is the caller's to append.

        Raises:
            ValueError: the agent has no room for it and has cut its stream.
        """
        text = self.agent.prompt.before_command(turn.observation, game_prompt=turn.prompt, first=turn.first)
        self.tokens += self.agent.tokenizer.encode(text, add_special_tokens=False)
        if len(self.tokens) > self.agent.context:
            raise ValueError(f"{len(self.tokens)} tokens do not fit into {self.agent.context}; choose fewer turns")


def ended(episode: int) -> EpisodeEnd:
    """Tells an agent that an episode is over."""
    return EpisodeEnd(episode=episode, observation="", info={}, reward=0.0, terminated=True, truncated=False)


def tokens_in(rollout: RolloutBatch) -> int:
    """Tokens of all segments."""
    return sum(len(segment.tokens) for segment in rollout.segments)
