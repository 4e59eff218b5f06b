"""Two usual ways to choose a command with a causal language model, each scoring every admissible command.

`one_pass_each` reads prompt and command anew for every command, as TWOSOME (Tan et al. 2024) scores actions;
`cached_copies` reads the prompt once and copies its keys and values for every command, as lamorel (Carta et al. 2023)
can. Both are written out here with transformers alone, in their favour: no padding in the first, one padded batch in
the second, the lm_head not at the prompt's own tokens. Leaves out what they train.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Scores = list[Floats]
"""[commands] log-probabilities of each command's tokens, nats, over the whole vocabulary."""


@torch.no_grad()
def one_pass_each(lm: Any, prompt: Sequence[int], commands: Sequence[Sequence[int]]) -> Scores:
    """A forward pass over prompt and command for every command."""
    found = []
    for command in commands:
        tokens = torch.tensor([[*prompt, *command]])
        logits = lm(input_ids=tokens, use_cache=False, logits_to_keep=len(command) + 1).logits[:, :-1]
        found.append(_taken(logits[0], command))
    return found


@torch.no_grad()
def cached_copies(lm: Any, prompt: Sequence[int], commands: Sequence[Sequence[int]]) -> Scores:
    """A forward pass over the prompt, and one over all commands, each with a copy of the prompt's cache."""
    read = lm(input_ids=torch.tensor([list(prompt)]), use_cache=True, logits_to_keep=1)
    cache = read.past_key_values
    cache.batch_repeat_interleave(len(commands))
    width = max(len(command) for command in commands) - 1  # nothing follows a last token
    if width == 0:
        return [_taken(read.logits[0], command) for command in commands]
    tokens = torch.zeros(len(commands), width, dtype=torch.int64)
    mask = torch.zeros(len(commands), len(prompt) + width, dtype=torch.int64)
    mask[:, : len(prompt)] = 1
    for row, command in enumerate(commands):
        tokens[row, : len(command) - 1] = torch.tensor(command[:-1])
        mask[row, len(prompt) : len(prompt) + len(command) - 1] = 1
    logits = lm(input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True).logits
    return [
        _taken(torch.cat([read.logits[0], logits[row, : len(command) - 1]]), command)
        for row, command in enumerate(commands)
    ]


def over_commands(scores: Scores) -> Floats:
    """[commands] what both works choose by: the product over a command's tokens, normalised over the commands."""
    summed = np.array([score.sum() for score in scores])
    weights = np.exp(summed - summed.max())
    found: Floats = weights / weights.sum()
    return found


def over_choices(scores: Scores, commands: Sequence[Sequence[int]]) -> Floats:
    """[commands] our policy from the same scores: at every prefix the tokens that some command offers sum to 1."""
    offered: dict[tuple[int, ...], dict[int, float]] = {}
    for score, command in zip(scores, commands, strict=True):
        for place, token in enumerate(command):
            offered.setdefault(tuple(command[:place]), {})[token] = float(score[place])
    totals = {prefix: np.logaddexp.reduce(list(tokens.values())) for prefix, tokens in offered.items()}
    logs = [
        sum(score[place] - totals[tuple(command[:place])] for place in range(len(command)))
        for score, command in zip(scores, commands, strict=True)
    ]
    found: Floats = np.exp(np.array(logs, dtype=np.float64))
    return found


def _taken(logits: Tensor, command: Sequence[int]) -> Floats:
    """Log-probabilities of a command's tokens from logits [tokens, V]."""
    found: Floats = logits.float().log_softmax(-1)[range(len(command)), list(command)].double().numpy()
    return found
