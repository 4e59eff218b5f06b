"""Reward models: language models with a scalar head that scores completions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.packed_attention import can_pack, packed_states
from agents.model.prefix_tree import Indices, PrefixTree, group_by_prefix, sharing_pays
from agents.model.tree_decoder import group_by_length
from agents.protocol import AgentError
from agents.storage.checkpoint import load_model, save_agent
from agents.storage.checkpoint_files import AGENT, newest, read_json, verify
from agents.text.stream_tokenizer import StreamTokenizer
from agents.training.rollout_batch import padded

KIND = "reward model"
MAX_TOKENS = 512
"""Maximum number of tokens of a text. Longer texts are cut at the start."""
MICRO_BATCH_TOKENS = 2048
"""Maximum number of tokens of a forward pass, which limits the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """The tokens of a prompt and its completion. `completion_length` includes an end token."""

    tokens: Indices
    completion_length: int


class RewardModel:
    """A language model whose value head scores completions."""

    def __init__(self, model: ActorCritic, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.stream_tokenizer = StreamTokenizer(tokenizer, split_special_tokens=True)
        self.max_tokens = min(model.context, MAX_TOKENS)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        texts = [self.encode(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
        rewards = torch.empty(len(texts))
        for rows in self._batches([text.tokens for text in texts]):
            rewards[rows] = self.rewards([texts[row] for row in rows]).cpu()
        return [float(reward) for reward in rewards]

    def encode(self, prompt: str, completion: str) -> EncodedText:
        end = self.tokenizer.eos_token_id
        completion_tokens = self.stream_tokenizer.encode(completion) + (
            self.stream_tokenizer.encode("\n") if end is None else [end]
        )
        tokens = (self.stream_tokenizer.begin(prompt) + completion_tokens)[-self.max_tokens :]
        return EncodedText(
            tokens=np.array(tokens, dtype=np.int64), completion_length=min(len(completion_tokens), len(tokens))
        )

    def rewards(self, texts: Sequence[EncodedText]) -> Tensor:
        """Return the rewards [N] of N texts.

        A reward is the mean output of the value head over the tokens after the prompt.
        """
        lengths = torch.tensor([len(text.tokens) for text in texts])[:, None]
        completion_lengths = torch.tensor([text.completion_length for text in texts])[:, None]
        positions = torch.arange(int(lengths.max()))
        # with 500 preferences, the mean generalises better than the output at the end token alone
        weights = ((positions >= lengths - completion_lengths) & (positions < lengths)) / completion_lengths  # [N, L]
        values = self._values([text.tokens for text in texts])
        return (values * weights.to(values.device)).sum(1)

    def _values(self, streams: Sequence[Indices]) -> Tensor:
        """Return the value head's outputs [N, L] on N streams of up to L tokens. Outputs at padding are arbitrary."""
        if can_pack(self.model) and sharing_pays(streams, len((tree := PrefixTree.of(streams)).tokens)):
            with packed_states(self.model, tree) as states:
                return self.model.heads.values(states)[0, torch.from_numpy(tree.nodes).to(states.device)]
        # padding on the right does not change the other hidden states, because the trunk is causal
        tokens = torch.from_numpy(padded(streams)).to(self.model.device)
        return self.model.heads.values(self.model.hidden_states(tokens, use_cache=False))

    def _batches(self, streams: Sequence[Indices]) -> Iterator[list[int]]:
        """Yield batches of stream indices. The streams of a batch share prefixes or have similar lengths."""
        unshared = list[int]()
        for group in group_by_prefix(streams, [0] * len(streams), budget=MICRO_BATCH_TOKENS):
            if can_pack(self.model) and sharing_pays([streams[index] for index in group.rows], group.nodes):
                yield group.rows
            else:
                unshared += group.rows
        for rows in group_by_length([len(streams[index]) for index in unshared], budget=MICRO_BATCH_TOKENS):
            yield [unshared[row] for row in rows]


def check_folder(folder: Path, *, allow_unfinished: bool = False) -> None:
    """Raise `AgentError` unless a reward model can be saved in `folder`.

    With `allow_unfinished`, the folder may hold a reward model already.
    """
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a new folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    agent_file = folder / AGENT
    if not (agent_file.is_file() and read_json(agent_file).get("kind") == KIND):
        raise AgentError(f"{folder} holds other files; expected a new folder")
    if not allow_unfinished:
        raise AgentError(f"{folder} already holds a reward model; choose another --out")


def save_reward_model(
    folder: Path,
    reward_model: RewardModel,
    config: ModelConfig,
    description: Mapping[str, Any],
    *,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Save a reward model atomically. `description` is JSON data about the training."""
    metadata = {"kind": KIND, "name": KIND, "prompt": "plain", "mode": "free", "context": reward_model.max_tokens}
    model, tokenizer = reward_model.model, reward_model.tokenizer
    save_agent(folder, model, tokenizer, config, {**metadata, **description}, training=training, state=state)


def load_reward_model(folder: Path) -> RewardModel:
    """Load a reward model. The state of torch's random-number generator does not change."""
    metadata = verify(newest(folder), kind=KIND)
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_model(folder, metadata)
    return RewardModel(model.requires_grad_(False), tokenizer)
