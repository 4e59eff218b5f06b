"""Reward models: a language model with a scalar head that scores completions (see `agents.training.reward_training`).

The reward r(prompt, completion) is the value head's output at the end token behind the text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError
from agents.storage.checkpoint import AGENT, load_model, newest, read_json, save_agent, verify

KIND = "reward model"
MAX_TOKENS = 512
"""Maximum length of a text. Of a longer text, the last tokens are scored."""
MICRO_BATCH_TOKENS = 2048
"""Tokens per forward pass. Limits memory."""


class RewardModel:
    """A language model whose value head scores texts.

    Args:
        model: trunk and value head. The caller controls its training mode.
        tokenizer: a tokenizer of the `transformers` library.
    """

    def __init__(self, model: ActorCritic, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens = min(model.context, MAX_TOKENS)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return the reward of each completion. This is a `games.completion.Scorer`."""
        texts = [self.encode(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
        rewards = torch.empty(len(texts))
        for rows in batches_by_length([len(text) for text in texts], MICRO_BATCH_TOKENS):
            rewards[rows] = self.rewards([texts[row] for row in rows]).cpu()
        return [float(reward) for reward in rewards]

    def encode(self, prompt: str, completion: str) -> list[int]:
        """Return the tokens of a text: those of the prompt, of the completion, and an end token."""
        pieces = [self._tokens(prompt), self._tokens(completion)]
        end = self.tokenizer.eos_token_id
        last = self._tokens("\n") if end is None else [end]
        return [token for piece in (*pieces, last) for token in piece][-self.max_tokens :]

    def rewards(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the rewards of texts, given as tokens. The shape is [N]."""
        lengths = torch.tensor([len(text) for text in texts])
        tokens = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = torch.tensor(text)  # padding on the right has no effect, because the trunk is causal
        hidden = self.model.hidden_states(tokens.to(self.model.device), use_cache=False)
        return self.model.heads.values(hidden[torch.arange(len(texts)), lengths - 1])

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return tokens


def batches_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return the indices of texts in batches of at most this many tokens, with padding. A longer text stands alone.

    Texts of similar length are in the same batch.
    """
    batches = list[list[int]]()
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def check_folder(folder: Path) -> None:
    """Raise `AgentError` if saving a reward model would replace a folder that holds no reward model."""
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a new folder")
    about = folder / AGENT
    if folder.is_dir() and any(folder.iterdir()) and not (about.is_file() and read_json(about).get("kind") == KIND):
        raise AgentError(f"{folder} holds other files; expected a new folder, or a reward model to replace")


def save_reward_model(
    folder: Path, reward_model: RewardModel, config: ModelConfig, description: Mapping[str, Any]
) -> None:
    """Write the folder of a reward model atomically (see `agents.storage.checkpoint`). An existing one is replaced.

    `description` are JSON values that describe the training.
    """
    about = {"kind": KIND, "name": KIND, "prompt": "plain", "mode": "free", "context": reward_model.max_tokens}
    save_agent(folder, reward_model.model, reward_model.tokenizer, config, {**about, **description})


def load_reward_model(folder: Path) -> RewardModel:
    """Load the reward model of a folder. The global random-number generator does not change.

    Raises:
        AgentError: a file is missing, damaged or of another format, or the folder holds no reward model.
    """
    about = verify(newest(folder), kind=KIND)
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_model(folder, about)
    return RewardModel(model.requires_grad_(False), tokenizer)
