"""Free generation: commands are lines of text, sampled token by token from the whole vocabulary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.language_model.token_stream import Choice, EpisodeState
from agents.model.actor_critic import ActorCritic, entropy
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, forward_trees


def line_ends(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a line: special tokens, and every token that contains a newline."""
    newlines = {token for token in range(len(tokenizer)) if "\n" in tokenizer.decode([token])}
    return frozenset(newlines | set(tokenizer.all_special_ids))


def generate_lines(
    model: ActorCritic,
    cache: RaggedCache,
    states: Sequence[EpisodeState],
    *,
    ends: frozenset[int],
    max_tokens: int,
    greedy: bool,
) -> None:
    """Append a generated line to the stream of every episode. Record each token of the line as a choice.

    A line ends with the first token that is in `ends`, or after `max_tokens` tokens.
    """
    writing = list(states)
    for _ in range(max_tokens):
        if not writing:
            break
        unread = [TreeInput(row=s.row, tokens=s.stream.tokens[cache.lengths[s.row] :]) for s in writing]
        hidden = forward_trees(model, cache, unread)
        logprobs = model.all_logprobs(hidden)
        tokens = [_next_token(row, None if greedy else s.rng) for row, s in zip(logprobs, writing, strict=True)]
        chosen = torch.tensor(tokens, device=model.device)[:, None]
        heads = model.evaluate_heads(hidden, chosen)
        q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q[:, 0]
        numbers = torch.stack([logprobs.gather(1, chosen)[:, 0], heads.values, q, entropy(logprobs)], dim=1)
        for state, token, row in zip(writing, tokens, numbers.tolist(), strict=True):
            logprob, value, q_value, spread = row
            state.stream.record(
                Choice(
                    position=len(state.stream.tokens) - 1,
                    turn=state.stream.turn,
                    alternatives=(token,),
                    chosen=0,
                    logprob=logprob,
                    value=value,
                    q_value=q_value,
                    entropy=spread,
                )
            )
            state.stream.tokens.append(token)
        writing = [state for state, token in zip(writing, tokens, strict=True) if token not in ends]


def _next_token(logprobs: Tensor, rng: np.random.Generator | None) -> int:
    """Sample a token from log-probabilities [V] of V tokens. If `rng` is None, take the most probable token."""
    if rng is None:
        return int(logprobs.argmax())
    probabilities = logprobs.cpu().double().exp().numpy()
    return int(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))
