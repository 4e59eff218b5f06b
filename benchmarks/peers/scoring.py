"""Two common methods that score every admissible command with a causal language model.

`one_pass_each` runs prompt and command through the model for every command, as TWOSOME (Tan et al. 2024) does.
`cached_copies` runs the prompt once and copies its keys and values for every command, as lamorel (Carta et al. 2023)
can. Both functions use only the `transformers` library. Details favour the two methods: the first function needs no
padding, the second pads a single batch, and neither function computes lm_head at the tokens of the prompt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Scores = list[Floats]
"""One array per command: the log-probabilities of its tokens in nats, normalised over the whole vocabulary."""


@torch.no_grad()
def one_pass_each(lm: Any, prompt: Sequence[int], commands: Sequence[Sequence[int]]) -> Scores:
    """Score every command by its own forward pass over the prompt and the command."""
    scores = []
    for command in commands:
        tokens = torch.tensor([[*prompt, *command]])
        logits = lm(input_ids=tokens, use_cache=False, logits_to_keep=len(command) + 1).logits[:, :-1]
        scores.append(_taken(logits[0], command))
    return scores


@torch.no_grad()
def cached_copies(lm: Any, prompt: Sequence[int], commands: Sequence[Sequence[int]]) -> Scores:
    """Score all commands by two forward passes: over the prompt, and over the commands with copies of the cache."""
    prompt_output = lm(input_ids=torch.tensor([list(prompt)]), use_cache=True, logits_to_keep=1)
    cache = prompt_output.past_key_values
    cache.batch_repeat_interleave(len(commands))
    width = max(len(command) for command in commands) - 1  # the last token needs no pass
    if width == 0:
        return [_taken(prompt_output.logits[0], command) for command in commands]
    tokens = torch.zeros(len(commands), width, dtype=torch.int64)
    mask = torch.zeros(len(commands), len(prompt) + width, dtype=torch.int64)
    mask[:, : len(prompt)] = 1
    for row, command in enumerate(commands):
        tokens[row, : len(command) - 1] = torch.tensor(command[:-1])
        mask[row, len(prompt) : len(prompt) + len(command) - 1] = 1
    logits = lm(input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True).logits
    return [
        _taken(torch.cat([prompt_output.logits[0], logits[row, : len(command) - 1]]), command)
        for row, command in enumerate(commands)
    ]


def over_commands(scores: Scores) -> Floats:
    """Return the probability of each command under the policy of TWOSOME and lamorel, normalised over the commands."""
    summed = np.array([score.sum() for score in scores])
    weights = np.exp(summed - summed.max())
    probabilities: Floats = weights / weights.sum()
    return probabilities


def over_choices(scores: Scores, commands: Sequence[Sequence[int]]) -> Floats:
    """Return the probability of each command under our policy, computed from the peers' scores.

    After each prefix of a command, the probabilities are normalised over the tokens with which a command continues it.
    """
    offered: dict[tuple[int, ...], dict[int, float]] = {}
    for score, command in zip(scores, commands, strict=True):
        for place, token in enumerate(command):
            offered.setdefault(tuple(command[:place]), {})[token] = float(score[place])
    totals = {prefix: np.logaddexp.reduce(list(tokens.values())) for prefix, tokens in offered.items()}
    logs = [
        sum(score[place] - totals[tuple(command[:place])] for place in range(len(command)))
        for score, command in zip(scores, commands, strict=True)
    ]
    probabilities: Floats = np.exp(np.array(logs, dtype=np.float64))
    return probabilities


def _taken(logits: Tensor, command: Sequence[int]) -> Floats:
    """Return the log-probabilities of a command's tokens from logits [tokens, V], with vocabulary size V."""
    logprobs: Floats = logits.float().log_softmax(-1)[range(len(command)), list(command)].double().numpy()
    return logprobs
