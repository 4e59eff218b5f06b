"""Generates texts token by token from the whole vocabulary."""

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
    """The maximum number of tokens of a text, and the tokens that end the text."""

    max_tokens: int
    end_tokens: frozenset[int]


def text_ends(tokenizer: Any) -> tuple[frozenset[int], frozenset[int]]:
    """Return the set of special tokens, and the set of tokens that are special or contain a newline."""
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
    """Append a generated text to each stream, and record each generated token as a choice.

    `guide_beta` is the weight of q (see `guided_logprobs`).
    """
    model, unfinished, length = reader.model, list(zip(states, limits, strict=True)), 0
    while unfinished:
        hidden, rows = reader.last_states([state for state, _ in unfinished])
        logprobs = model.all_logprobs(hidden)  # [n, V]; recorded without `temperature` and `top_p`
        if guide_beta:
            logprobs = guided_logprobs(logprobs, model.all_q(hidden), guide_beta)
        if len(hidden) < len(rows):
            hidden, logprobs = hidden[rows], logprobs[rows]  # [N, V]
        if logprobs[:, 0].isnan().any():  # a row is normalised, so one NaN makes all its entries NaN
            raise DivergenceError(NOT_FINITE)
        if greedy:
            chosen = logprobs.argmax(1, keepdim=True)
        else:
            p = sampling_probabilities(logprobs.exp().cpu().numpy(), temperature, top_p)
            cumulative = p.cumsum(1, dtype=np.float64)
            uniforms = (state.rng.random() for state, _ in unfinished)
            tokens = [
                int(row.searchsorted(u * row[-1], side="right")) for row, u in zip(cumulative, uniforms, strict=True)
            ]
            chosen = torch.tensor(tokens, device=model.device)[:, None]
        heads = model.evaluate_heads(hidden, chosen)
        q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q[:, 0]
        statistics = torch.stack([logprobs.gather(1, chosen)[:, 0], heads.values, q, entropy(logprobs)], dim=1)
        for (state, _), token, row in zip(unfinished, chosen[:, 0].tolist(), statistics.tolist(), strict=True):
            logprob, value, q_value, choice_entropy = row
            state.stream.record(
                Choice(
                    position=len(state.stream.tokens) - 1,
                    turn=state.stream.turn,
                    alternatives=(token,),
                    chosen=0,
                    logprob=logprob,
                    value=value,
                    q_value=q_value,
                    entropy=choice_entropy,
                )
            )
            state.stream.tokens.append(token)
        length += 1
        unfinished = [
            (state, limit)
            for state, limit in unfinished
            if state.stream.tokens[-1] not in limit.end_tokens and length < limit.max_tokens
        ]
