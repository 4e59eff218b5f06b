"""Converts finished episodes to token streams with outputs of the current model."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice

import torch
from torch import Tensor

import games
from agents.config import UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import NOT_FINITE
from agents.language_model.recorded_streams import StreamRecorder, replace_choices
from agents.language_model.token_stream import Choice, Segment
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import HeadOutputs
from agents.protocol import DivergenceError
from agents.training.data_file import Converter, Prompts
from agents.training.rollout_batch import RolloutBatch


def converter_of(agent: LanguageModelAgent, specs: Iterable[games.GameSpec], labels: str) -> Converter:
    """Build a converter from the agent's settings, for the games `specs`."""
    recorder = StreamRecorder(agent.tokenizer, agent.prompt, mode=agent.mode, context=agent.context, gamma=agent.gamma)
    return Converter(recorder, prompts_of(specs), labels=labels)


def prompts_of(specs: Iterable[games.GameSpec]) -> Prompts:
    """Return a dict: game -> (text before a command, text after a command). The empty key is for unlisted games."""
    representatives: dict[tuple[str, str], games.GameSpec] = {}
    prompts = {
        spec.name: _prompt_and_terminator(representatives.setdefault((spec.kind, spec.target), spec)) for spec in specs
    }
    return prompts | {"": next(iter(prompts.values()))}


@cache
def _prompt_and_terminator(spec: games.GameSpec) -> tuple[str, str]:
    env = spec.make()
    env.close()
    return env.metadata.get("prompt", "\n> "), env.metadata.get("terminator", "\n")


@torch.no_grad()
def evaluated_streams(
    model: ActorCritic, config: UpdateConfig, streams: Sequence[list[Segment]], truncated: Sequence[bool]
) -> tuple[list[Segment], list[bool]]:
    """Run the model on one token stream per episode.

    Return a tuple (segments with model outputs, one bool per label: whether the label is the likeliest alternative).
    """
    if not (all_segments := [segment for stream in streams for segment in stream]):
        return [], []
    rollout = RolloutBatch(all_segments, credit="token", device=model.device)
    outputs = torch.zeros(int(rollout.offsets[-1]), 5, device=rollout.device)
    for micro_batch in rollout.micro_batches_for(model, config):
        with micro_batch.hidden_states(model) as states:
            heads = model.evaluate_choices(states, micro_batch.choices)
        outputs[micro_batch.choice_index] = _choice_outputs(heads, micro_batch.choices.chosen)
    if not bool(outputs.isfinite().all()):
        raise DivergenceError(NOT_FINITE)
    rows, segments, agreements = iter(outputs.cpu().double().tolist()), list[Segment](), list[bool]()
    for stream, is_truncated in zip(streams, truncated, strict=True):
        choices = list[Choice]()
        for segment in stream:
            for choice, row in zip(segment.choices, islice(rows, len(segment.choices)), strict=True):
                logprob, value, q_value, entropy, likeliest = row
                choices.append(replace(choice, logprob=logprob, value=value, q_value=q_value, entropy=entropy))
                if choice.label is not None and not segment.whole_vocabulary:
                    agreements.append(choice.label == likeliest)
        if choices:  # the last choice of a truncated episode only marks the final state, and is removed
            segments += replace_choices(stream, choices, truncated=is_truncated)
    return segments, agreements


def _choice_outputs(heads: HeadOutputs, chosen: Tensor) -> Tensor:
    """Return [N, 5] for N choices: log pi(`chosen`), v, q(`chosen`), entropy, index of the likeliest alternative."""
    index = chosen[:, None]
    q = torch.zeros_like(heads.values) if heads.recorded_q is None else heads.recorded_q.gather(1, index)[:, 0]
    likeliest = heads.logprobs.argmax(1)
    return torch.stack([heads.logprobs.gather(1, index)[:, 0], heads.values, q, heads.entropy, likeliest], dim=1)
