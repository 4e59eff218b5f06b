"""Free generation: texts that are sampled token by token from the whole vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.language_model.command_policy import NOT_FINITE, guided_logprobs, sampling_probabilities
from agents.language_model.stream_reader import StreamReader
from agents.language_model.token_stream import Choice, EpisodeState
from agents.model.head_outputs import entropy
from agents.protocol import DivergenceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The maximum number of tokens of a text, and the tokens that end it."""

    max_tokens: int
    ends: frozenset[int]


def text_ends(tokenizer: Any) -> tuple[frozenset[int], frozenset[int]]:
    """Return two sets of tokens that end a text.

    The first set holds the special tokens. The second also holds all tokens that contain a newline.
    """
    special = frozenset(tokenizer.all_special_ids)
    newlines = {token for token in range(len(tokenizer)) if "\n" in tokenizer.decode([token])}
    return special, special | newlines


def generate(
    reader: StreamReader,
    states: Sequence[EpisodeState],
    limits: Sequence[Limits],
    *,
    greedy: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    guide_beta: float = 0.0,
) -> None:
    """Append a generated text to each stream, and record its tokens as choices.

    The recorded log-probabilities and entropies are those before `temperature` and `top_p`.
    """
    model, writing, written = reader.model, list(zip(states, limits, strict=True)), 0
    while writing:
        hidden, index = reader.last_states([state for state, _ in writing])
        logprobs = model.all_logprobs(hidden)  # [n, V]
        if guide_beta:
            logprobs = guided_logprobs(logprobs, model.all_q(hidden), guide_beta)
        if len(hidden) < len(index):
            hidden, logprobs = hidden[index], logprobs[index]  # [N, V]
        if logprobs[:, 0].isnan().any():  # a row is normalised, so one NaN makes all its entries NaN
            raise DivergenceError(NOT_FINITE)
        if greedy:
            chosen = logprobs.argmax(1, keepdim=True)
        else:
            p = sampling_probabilities(logprobs.exp().cpu().numpy(), temperature, top_p)
            mass = p.cumsum(1, dtype=np.float64)
            drawn = (state.rng.random() for state, _ in writing)
            tokens = [int(row.searchsorted(u * row[-1], side="right")) for row, u in zip(mass, drawn, strict=True)]
            chosen = torch.tensor(tokens, device=model.device)[:, None]
        heads = model.evaluate_heads(hidden, chosen)
        q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q[:, 0]
        numbers = torch.stack([logprobs.gather(1, chosen)[:, 0], heads.values, q, entropy(logprobs)], dim=1)
        for (state, _), token, row in zip(writing, chosen[:, 0].tolist(), numbers.tolist(), strict=True):
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
        written += 1
        writing = [(s, e) for s, e in writing if s.stream.tokens[-1] not in e.ends and written < e.max_tokens]
