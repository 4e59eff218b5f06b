"""Rollouts of random token streams, which share prefixes."""

from typing import Any

import numpy as np

from agents.language_model.token_stream import Choice, Segment
from agents.training.rollout_batch import RolloutBatch
from experiments.decoders.architectures import WINDOW

VOCABULARY = 40


def random_rollout(seed: int = 0, *, episodes: int = 8, free: bool = False, **settings: Any) -> RolloutBatch:
    """Random streams that leave a common stream at different positions, one that is its prefix, and two equal ones."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, VOCABULARY, 2 * WINDOW)
    streams = [
        np.concatenate([common[: rng.integers(3, len(common))], rng.integers(0, VOCABULARY, rng.integers(1, WINDOW))])
        for _ in range(episodes - 3)
    ]
    streams += [common, common, common[:WINDOW]]
    segments = [segment_of(index, tokens, rng, free=free) for index, tokens in enumerate(streams)]
    return RolloutBatch(segments, credit=settings.pop("credit", "token"), **settings)


def segment_of(episode: int, tokens: Any, rng: np.random.Generator, *, free: bool) -> Segment:
    """A segment with choices at random positions, two in each turn. The alternatives contain the next token."""
    last = len(tokens) - 1
    positions = np.unique([*rng.integers(0, len(tokens), 6), last])
    choices = []
    for number, position in enumerate(positions.tolist()):
        following = int(tokens[position + 1]) if position < last else 0
        others = rng.permutation(np.setdiff1d(np.arange(VOCABULARY), [following]))[: rng.integers(1, 4)]
        alternatives = (following,) if free else (following, *others.tolist())
        choices.append(
            Choice(
                position=position,
                turn=number // 2,
                alternatives=alternatives,
                chosen=0,
                **{name: float(rng.normal()) for name in ("logprob", "value", "q_value", "reward", "next_value")},
                entropy=1.0,
                discount=0.0 if position == last else 0.9,
                label=0 if number % 2 else None,
            )
        )
    return Segment(episode=episode, tokens=tokens, choices=tuple(choices), whole_vocabulary=free)
