"""Evaluates the current model on recorded episodes: log-probability, v, q and entropy at each chosen token.

A choice is a token that was chosen from several alternatives. A segment is the token sequence of an episode, or a part
of one.
"""

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
    """Run the model on segments. Return a tuple (choices, agreement).

    `choices` are copies of all choices of the segments, in order, with the model's log-probability, v, q and entropy.
    `agreement` has one entry for each choice with a label: whether the label is the model's likeliest alternative.
    Segments with `whole_vocabulary` have no entries in `agreement`. `update` holds the settings of the forward passes.
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
    """Run the model on episodes. Return a tuple (segments, agreement).

    `segments` are the segments of all episodes, in order, with the model's log-probability, v, q and entropy at each
    choice. `agreement` is that of `evaluate_choices`.

    Args:
        streams: for each episode its segments, as `StreamRecorder.record` returns them.
        truncated: for each episode whether it was truncated. If so, its last choice is not an action, but marks the
            final state. It provides v of this state, and is removed from the result.
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
    """Return a tensor [N, 5] with a row for each of N choices.

    The columns are log pi(chosen token), v, q(chosen token), the entropy, and the index of the likeliest alternative.
    `chosen` [N] is the index of the chosen token among the alternatives.
    """
    index = chosen[:, None]
    q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q.gather(1, index)[:, 0]
    likeliest = heads.logprobs.argmax(1)
    return torch.stack([heads.logprobs.gather(1, index)[:, 0], heads.values, q, heads.entropy, likeliest], dim=1)
