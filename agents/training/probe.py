"""Measures the policy's continuations of fixed prompts during training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

import games
from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.play.runner import EpisodeRunner
from agents.play.text_measures import text_measures
from agents.protocol import AgentError
from agents.training.reference import ReferencePolicy
from agents.training.rollout_batch import RolloutBatch
from games.completion.prompts import load_prompts

PARALLEL = 48
"""Maximum number of texts that the policy writes at the same time."""


class FixedPrompt(gymnasium.Wrapper[str, str, str, str]):
    """A completion game in which all episodes have the same prompt."""

    def __init__(self, env: gymnasium.Env[str, str], prompt: str) -> None:
        super().__init__(env)
        self.prompt = prompt

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        return self.env.reset(seed=seed, options={**(options or {}), "prompt": self.prompt})


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A completion game whose episodes all have the same prompt."""

    spec: games.GameSpec
    prompt: str

    @property
    def name(self) -> str:
        return f"{self.spec.name} at {self.prompt!r}"

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> gymnasium.Env[str, str]:
        return FixedPrompt(self.spec.make(max_turns=max_turns, infos=infos), self.prompt)


class Probe:
    """Measures the policy's continuations of fixed prompts.

    `prompts` names a prompt set or a file. `judge` names the true reward, if any.
    """

    def __init__(
        self, game: str, prompts: str, judge: str, *, agent: LanguageModelAgent, reference: ReferencePolicy, seed: int
    ) -> None:
        spec, *other_specs = games.resolve(game)
        if other_specs or spec.kind != "completion":
            raise AgentError(f"--probe-prompts needs one completion game, got {game}")
        self.specs = [PromptSpec(spec, prompt) for prompt in load_prompts(prompts, setting="--probe-prompts ")]
        self.judge = scorer(judge) if judge else None
        self.reference, self.seed = reference, seed
        self.agent = agent.twin(seed=seed, record=True)

    def measure(self) -> dict[str, Any]:
        """Continue every prompt once. Return the texts, and measures of the texts."""
        model = self.agent.model
        with model.mode(training=False):
            with EpisodeRunner(self.specs, seed=self.seed, parallel=PARALLEL) as runner:
                episodes = sorted(runner.play(self.agent, len(self.specs)), key=lambda episode: episode.index)
            self.agent.forget()
            rollout = RolloutBatch(self.agent.take_segments(), credit="token", device=model.device)
            self.reference.evaluate(rollout)
            reference_logprobs = rollout.chosen_reference
            kl = self.reference.kl(rollout, guide_beta=self.agent.guide_beta)
        steps = [episode.steps[0] for episode in episodes]
        texts = [step.decision.command for step in steps]
        measures: dict[str, Any] = {"reward": float(np.mean([step.reward for step in steps]))}
        if self.judge is not None:
            measures["true_reward"] = float(np.mean(self.judge([spec.prompt for spec in self.specs], texts)))
        return measures | {
            "entropy": float(np.mean([choice.entropy for segment in rollout.segments for choice in segment.choices])),
            "kl": float(kl.mean()),
            "kl_text": float(kl.sum()) / len(texts),
            "perplexity": float((-reference_logprobs.mean()).exp()),
            **text_measures(texts),
            "texts": texts,
        }
