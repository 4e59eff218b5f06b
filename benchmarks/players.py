"""The player of the benchmarks: a model with the presets of `train`, which plays tapes (recorded episodes) and learns.

The player uses the components of `train` (runner, agent, updater), but no run folders, transcripts or checkpoints.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from actde import make_optimizer
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.play.live_episode import Game
from agents.play.runner import EpisodeRunner
from agents.protocol import EpisodeEnd, Turn
from agents.training import presets
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer

GAME = "textworld:simple?seed=1"  # only selects presets: the games to play are an argument of `Player.rollout`


class Player:
    """A language model that plays and learns.

    `explicit` are settings of `train`. All others have the values of the presets. Without `model` and `tokenizer`, both
    are built from the settings.
    """

    def __init__(self, explicit: dict[str, Any], *, model: ActorCritic | None = None, tokenizer: Any = None) -> None:
        self.config = config = presets.resolve({"game": GAME} | explicit)
        self.optimizer = make_optimizer(config.run.optimizer, config.optimizer)
        torch.manual_seed(config.run.seed)
        if model is None:
            q_heads = config.model.q_heads if self.optimizer.trains_q else 0
            model, tokenizer = assemble(config.model.replace(q_heads=q_heads), None)
        self.model, self.tokenizer = model, tokenizer
        self.torch_optimizer = make_torch_optimizer(model, config.update)
        self.updater = Updater(model, self.torch_optimizer, self.optimizer, config.update, Accelerator())

    def agent(self, **settings: Any) -> LanguageModelAgent:
        """Return a new agent that plays with the current model."""
        rollout = self.config.rollout
        given = {"context": rollout.context, "gamma": self.config.optimizer.gamma, "mode": rollout.mode}
        return LanguageModelAgent(self.model, self.tokenizer, **(given | settings))

    @cached_property
    def learner(self) -> LanguageModelAgent:
        """The agent that plays all rollouts, created at its first use. As in `train`, it is reused between rollouts."""
        return self.agent(record=True)

    def rollout(
        self, specs: Sequence[Game], *, parallel: int | None = None, max_turns: int | None = None
    ) -> RolloutBatch:
        """Play every game of `specs` once, with at most `max_turns` commands, and return the rollout."""
        config = self.config.rollout
        self.model.train(config.rollout_dropout)
        agent, group = self.learner, config.group_size
        agent.forget()
        slots = parallel or config.parallel
        with EpisodeRunner(specs, seed=0, parallel=slots, group_size=group, max_turns=max_turns) as runner:
            for _ in runner.play(agent, len(specs)):
                pass
        return RolloutBatch(agent.take_segments(), credit=config.credit, group_size=group)

    def update(self, rollout: RolloutBatch) -> dict[str, float]:
        """Take all gradient steps on a rollout and return the metrics of the update."""
        self.model.train()
        measures, _ = self.updater.learn(rollout, np.random.default_rng(0))
        return measures


class Text:
    """The tokens of one episode so far, for peers that encode the whole history."""

    def __init__(self, agent: LanguageModelAgent) -> None:
        self.agent = agent
        self.tokens: list[int] = []

    def show(self, turn: Turn) -> None:
        """Append the text that the game shows at a turn. The caller appends the command.

        Raises:
            ValueError: the text exceeds the agent's context.
        """
        text = self.agent.prompt.before_command(turn.observation, game_prompt=turn.prompt, first=turn.first)
        tokenizer = self.agent.stream_tokenizer
        self.tokens += tokenizer.begin(text) if turn.first else tokenizer.encode(text)
        if len(self.tokens) > self.agent.context:
            raise ValueError(f"{len(self.tokens)} tokens do not fit into {self.agent.context}; choose fewer turns")


def ended(episode: int) -> EpisodeEnd:
    """Return the `EpisodeEnd` with which the agent's method `end` is called after an episode."""
    return EpisodeEnd(episode=episode, observation="", info={}, reward=0.0, terminated=True, truncated=False)


def tokens_in(rollout: RolloutBatch) -> int:
    """Return the number of tokens of all segments."""
    return sum(len(segment.tokens) for segment in rollout.segments)


def choices_in(rollout: RolloutBatch) -> int:
    """Return the number of tokens of all segments that the agent sampled."""
    return sum(len(segment.choices) for segment in rollout.segments)
