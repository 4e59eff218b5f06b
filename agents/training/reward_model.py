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
from agents.storage.checkpoint import AGENT, load_model, newest, read_json, save_agent, verify
from agents.text.stream_tokenizer import StreamTokenizer
from agents.training.rollout_batch import padded

KIND = "reward model"
MAX_TOKENS = 512
"""Maximum number of tokens of a text. The start of a longer text is left out."""
MICRO_BATCH_TOKENS = 2048
"""Maximum number of tokens of a forward pass. It limits the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """A prompt, its completion and an end token. The last `scored` tokens follow the prompt."""

    tokens: Indices
    scored: int


class RewardModel:
    """A language model whose value head scores texts. It is a `games.completion.Scorer`."""

    def __init__(self, model: ActorCritic, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.pieces = StreamTokenizer(tokenizer, split_special_tokens=True)
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
        scored = self.pieces.encode(completion) + (self.pieces.encode("\n") if end is None else [end])
        tokens = (self.pieces.begin(prompt) + scored)[-self.max_tokens :]
        return EncodedText(tokens=np.array(tokens, dtype=np.int64), scored=min(len(scored), len(tokens)))

    def rewards(self, texts: Sequence[EncodedText]) -> Tensor:
        """Return the reward of each text [N]: the mean of the head's outputs after the prompt."""
        ends = torch.tensor([len(text.tokens) for text in texts])[:, None]
        scored = torch.tensor([text.scored for text in texts])[:, None]
        place = torch.arange(int(ends.max()))
        # with 500 preferences, the mean generalises better than the output at the end token alone
        weights = ((place >= ends - scored) & (place < ends)) / scored  # [N, L]
        values = self._values([text.tokens for text in texts])
        return (values * weights.to(values.device)).sum(1)

    def _values(self, streams: Sequence[Indices]) -> Tensor:
        """Return the value head's output at each token [N, L]. Outputs at padding are arbitrary."""
        if can_pack(self.model) and sharing_pays(streams, len((tree := PrefixTree.of(streams)).tokens)):
            with packed_states(self.model, tree) as states:
                return self.model.heads.values(states)[0, torch.from_numpy(tree.nodes).to(states.device)]
        # padding on the right does not change the other hidden states, because the trunk is causal
        tokens = torch.from_numpy(padded(streams)).to(self.model.device)
        return self.model.heads.values(self.model.hidden_states(tokens, use_cache=False))

    def _batches(self, streams: Sequence[Indices]) -> Iterator[list[int]]:
        """Yield the indices of streams that share prefixes or have similar lengths."""
        alone = list[int]()
        for group in group_by_prefix(streams, [0] * len(streams), budget=MICRO_BATCH_TOKENS):
            if can_pack(self.model) and sharing_pays([streams[index] for index in group.rows], group.nodes):
                yield group.rows
            else:
                alone += group.rows
        for rows in group_by_length([len(streams[index]) for index in alone], budget=MICRO_BATCH_TOKENS):
            yield [alone[row] for row in rows]


def check_folder(folder: Path, *, unfinished: bool = False) -> None:
    """Raise `AgentError` unless a reward model can be saved in `folder`.

    With `unfinished`, the folder may hold the reward model of an interrupted training.
    """
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a new folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    about = folder / AGENT
    if not (about.is_file() and read_json(about).get("kind") == KIND):
        raise AgentError(f"{folder} holds other files; expected a new folder")
    if not unfinished:
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
    """Save a reward model atomically. `description` holds JSON values about the training."""
    about = {"kind": KIND, "name": KIND, "prompt": "plain", "mode": "free", "context": reward_model.max_tokens}
    model, tokenizer = reward_model.model, reward_model.tokenizer
    save_agent(folder, model, tokenizer, config, {**about, **description}, training=training, state=state)


def load_reward_model(folder: Path) -> RewardModel:
    """Load a reward model without changing the global random-number generator."""
    about = verify(newest(folder), kind=KIND)
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_model(folder, about)
    return RewardModel(model.requires_grad_(False), tokenizer)
