"""Sample texts from a fixed policy, and store the hidden state of each sampled token."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from actde.returns import lambda_advantages, lambda_returns, td_errors
from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.lower_layers import FrozenStates, lower_layers_only
from agents.play.runner import EpisodeRunner
from agents.training.rollout_batch import RolloutBatch
from games import resolve

REWARD = "sentiment"
GAME = f"completion?reward={REWARD}"
TEXTS, ROLLOUTS = 32, 40  # texts per rollout, rollouts of a run
LAST = 16  # number of last rollouts over which the explained variance is averaged


@dataclass(frozen=True, slots=True)
class Texts:
    """The B texts of a rollout, with N sampled tokens in total."""

    prompts: tuple[str, ...]
    streams: Tensor  # [B, L] token ids of prompts and texts, without the last token of each text
    positions: Tensor  # [N] column in `streams` of the token before each sampled token
    max_tokens: int


@dataclass(frozen=True, slots=True)
class SampledReturns:
    """Returns from S states of a rollout: J sampled tokens per state, K continuations per token."""

    choices: Tensor  # [S] index of each state in the rollout
    tokens: Tensor  # [S, J] token ids
    returns: Tensor  # [S, J, K]


@dataclass(frozen=True, slots=True)
class Rollout:
    """B texts of a fixed policy: N sampled tokens in total, at most T per text.

    Attributes:
        rows: [N] index of each token's text.
        columns: [N] index of each token within its text.
        hidden: [N, d] hidden state (of size d) from which each token was sampled.
        tokens: [N] token ids.
        rewards: [B, T], 0 except at the last token of each text.
        mask: [B, T] True where a token exists.
        lower: output of the model's lower layers, or None.
    """

    rows: Tensor
    columns: Tensor
    hidden: Tensor
    tokens: Tensor
    rewards: Tensor
    mask: Tensor
    texts: Texts | None = None
    lower: FrozenStates | None = None
    sampled: SampledReturns | None = None

    def returns(self, values: Tensor, gae_lambda: float) -> Tensor:
        """Return the lambda-returns [N] with gamma 1. `values` [N] holds v."""
        v = values.new_zeros(self.mask.shape).index_put((self.rows, self.columns), values)
        next_values, continues = (pad(x[:, 1:], (0, 1)) for x in (v, self.mask.float()))
        errors = td_errors(self.rewards, continues, next_values, v, self.mask)
        advantages = lambda_advantages(errors, continues, gae_lambda)
        return lambda_returns(v, advantages, self.mask)[self.rows, self.columns]


@torch.no_grad()
def write_rollouts(seed: int) -> tuple[list[Rollout], LanguageModelAgent]:
    """Sample `ROLLOUTS` rollouts from SmolLM2. Return a tuple (rollouts, agent)."""
    torch.manual_seed(seed)
    model, tokenizer = assemble(ModelConfig(trunk="smollm2", dtype="bfloat16"), None)
    agent = LanguageModelAgent(model.eval(), tokenizer, mode="free", seed=seed, record=True)
    with closing(resolve(GAME)[0].make()) as game:
        max_tokens = int(game.reset(seed=seed)[1]["max_tokens"])
    rollouts = []
    with EpisodeRunner(resolve(GAME), seed=seed, parallel=TEXTS) as runner:
        for _ in range(ROLLOUTS):
            episodes = sorted(runner.play(agent, TEXTS), key=lambda episode: episode.index)
            prompts = tuple(episode.steps[0].observation for episode in episodes)
            rollouts.append(_rollout(agent, prompts, max_tokens))
    agent.forget()
    return rollouts, agent


def _rollout(agent: LanguageModelAgent, prompts: tuple[str, ...], max_tokens: int) -> Rollout:
    batch = RolloutBatch(agent.take_segments(), credit="token")
    micro_batch, recorded = batch.micro_batch(range(len(batch))), batch.batch(with_q=False)
    states = agent.model.hidden_states(micro_batch.tokens, use_cache=False)
    return Rollout(
        rows=micro_batch.choices.rows,
        columns=micro_batch.action_index,
        hidden=states[micro_batch.choices.rows, micro_batch.choices.positions].float(),
        tokens=micro_batch.choices.alternatives[:, 0],
        rewards=recorded.rewards,
        mask=recorded.mask,
        texts=Texts(prompts, micro_batch.tokens, micro_batch.choices.positions, max_tokens),
    )


@torch.no_grad()
def with_lower_states(rollouts: Sequence[Rollout], model: ActorCritic, layers: int) -> list[Rollout]:
    """Copy `rollouts`, and set `lower` to the output of the first `layers` model layers."""
    with_states = []
    for rollout in rollouts:
        assert rollout.texts is not None
        with lower_layers_only(model, layers) as states:
            model.hidden_states(rollout.texts.streams, use_cache=False)
        with_states.append(replace(rollout, lower=FrozenStates(layers, states[0])))
    return with_states
