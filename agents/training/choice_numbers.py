"""Evaluates the current model at the choices of streams that it did not play itself."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from agents.config import UpdateConfig
from agents.language_model.command_policy import NOT_FINITE
from agents.language_model.recorded_streams import evaluated
from agents.language_model.token_stream import Choice, Segment
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import HeadOutputs
from agents.model.packed_attention import can_pack
from agents.protocol import DivergenceError
from agents.training.rollout_batch import RolloutBatch


@torch.no_grad()
def evaluate_choices(
    model: ActorCritic, update: UpdateConfig, segments: Sequence[Segment]
) -> tuple[list[Choice], list[bool]]:
    """Return a tuple: all choices with the model's results, and whether each label is the likeliest alternative.

    The results are the log-probability, v, q and entropy. The second list has an entry for each choice with a label,
    except in segments with `whole_vocabulary`. `update` holds the settings of the forward passes.
    """
    rollout = RolloutBatch(segments, credit="token", device=model.device)
    numbers = torch.zeros(int(rollout.offsets[-1]), 5, device=rollout.device)
    share = update.prefix_sharing == "auto" and can_pack(model)
    for part in rollout.micro_batches(range(len(rollout)), update.micro_batch_tokens, share_prefixes=share):
        with part.hidden_states(model) as states:
            heads = model.evaluate_choices(states, part.choices)
        numbers[part.choice_index] = _numbers(heads, part.choices.chosen)
    if not bool(numbers.isfinite().all()):
        raise DivergenceError(NOT_FINITE)
    choices, agreed = list[Choice](), list[bool]()
    recorded = [(choice, segment.whole_vocabulary) for segment in segments for choice in segment.choices]
    for (choice, whole_vocabulary), row in zip(recorded, numbers.cpu().double().tolist(), strict=True):
        logprob, value, q_value, entropy, likeliest = row
        choices.append(replace(choice, logprob=logprob, value=value, q_value=q_value, entropy=entropy))
        if choice.label is not None and not whole_vocabulary:
            agreed.append(choice.label == likeliest)
    return choices, agreed


def evaluated_streams(
    model: ActorCritic, update: UpdateConfig, streams: Sequence[list[Segment]], truncated: Sequence[bool]
) -> tuple[list[Segment], list[bool]]:
    """Return a tuple: the segments of all episodes with the model's results, and the second list of `evaluate_choices`.

    Args:
        streams: for each episode the result of `StreamRecorder.record`.
        truncated: for each episode whether it was truncated. Its last choice then marks the final state.
    """
    if not (everything := [segment for stream in streams for segment in stream]):
        return [], []
    choices, agreed = evaluate_choices(model, update, everything)
    segments, remaining = list[Segment](), iter(choices)
    for stream, cut in zip(streams, truncated, strict=True):
        if own := list(islice(remaining, sum(len(segment.choices) for segment in stream))):
            segments += evaluated(stream, own, truncated=cut)
    return segments, agreed


def _numbers(heads: HeadOutputs, chosen: Tensor) -> Tensor:
    """Return for each of N choices [N, 5]: logprob, v and q of the chosen token, entropy, and the likeliest token."""
    index = chosen[:, None]
    q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q.gather(1, index)[:, 0]
    likeliest = heads.logprobs.argmax(1)
    return torch.stack([heads.logprobs.gather(1, index)[:, 0], heads.values, q, heads.entropy, likeliest], dim=1)
