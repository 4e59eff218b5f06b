"""From what the heads say at a turn's choices to a command, its probability among all, and the record of it.

Pure functions over arrays: no network, no stream, no game. The probability of a command is the product of the
choices on its way through the trie, so it is exact, and drawing from the commands is drawing choice by choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agents.language_model.token_stream import Choice
from agents.model.actor_critic import HeadOutputs
from agents.model.command_trie import Trie
from agents.protocol import Decision

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadValues:
    """What the heads say at n choices among at most K tokens; of a turn, in the order of `Trie.branching`."""

    logprobs: Floats
    """[n, K] nats; padding is -inf."""
    values: Floats
    """[n] v(s), units of reward."""
    q_values: Floats | None
    """[n, K] q(s, token), units of reward: least over the heads, of the target heads where there are any."""

    @classmethod
    def of(cls, readout: HeadOutputs) -> Self:
        """A readout as arrays on the CPU."""
        q = readout.q_values if readout.target_q_values is None else readout.target_q_values
        return cls(
            logprobs=readout.logprobs.cpu().double().numpy(),
            values=readout.values.cpu().double().numpy(),
            q_values=None if q is None else q.amin(-1).cpu().double().numpy(),
        )

    def turns(self, counts: Sequence[int]) -> list[Self]:
        """The same, cut into turns of so many choices each."""
        ends = np.cumsum(counts)
        return [self._rows(slice(end - count, end)) for end, count in zip(ends, counts, strict=True)]

    def _rows(self, rows: slice) -> Self:
        q = None if self.q_values is None else self.q_values[rows]
        return type(self)(logprobs=self.logprobs[rows], values=self.values[rows], q_values=q)


def command_probabilities(trie: Trie, logprobs: Floats) -> Floats:
    """[commands] pi(command), summing to 1. Of commands with the same tokens the first has all."""
    row = {node: index for index, node in enumerate(trie.branching)}
    summed = np.array([sum(logprobs[row[node], child] for node, child in path) for path in trie.paths])
    duplicate = np.array([first != command for command, first in enumerate(trie.first_of_leaf)])
    probabilities = np.where(duplicate, 0.0, np.exp(summed))
    normalized: Floats = probabilities / probabilities.sum()
    return normalized


def reach_probabilities(trie: Trie, logprobs: Floats) -> Floats:
    """[branching nodes] probability under pi that a command's way passes each of them; the first one's is 1."""
    row = {node: index for index, node in enumerate(trie.branching)}
    found = np.zeros(len(row))
    for path in trie.paths:
        summed = 0.0
        for node, child in path:
            found[row[node]] = np.exp(summed)
            summed += logprobs[row[node], child]
    return found


def decide(
    trie: Trie, names: Sequence[str], heads: HeadValues, rng: np.random.Generator | None
) -> tuple[Decision, int]:
    """Draw a command, or take the likeliest where there is no generator; the decision and the command's index."""
    probabilities = command_probabilities(trie, heads.logprobs)
    command = int(probabilities.argmax() if rng is None else rng.choice(len(names), p=probabilities))
    q_values: dict[str, float] = {}
    if heads.q_values is not None and trie.branching:
        row = {node: index for index, node in enumerate(trie.branching)}
        last = [path[-1] for path in trie.paths]  # the choice that settles the command
        q_values = {
            name: float(heads.q_values[row[node], child]) for name, (node, child) in zip(names, last, strict=True)
        }
    positive = probabilities[probabilities > 0]
    decision = Decision(
        command=names[command],
        probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
        value=float(heads.values[0]) if trie.branching else None,
        q_values=q_values,
        entropy=float(-(positive * np.log(positive)).sum()),
    )
    return decision, command


def choices_for_command(
    trie: Trie, command: int, heads: HeadValues, *, position: int, turn: int, label: int | None = None
) -> list[Choice]:
    """The record of every choice on the way to a command.

    Where a teacher would take another command (`label`), the choices up to the one at which the two part are labelled
    with the teacher's, and those after it with nothing: the teacher was never there, and the rest of its own way
    is not in the stream.

    Args:
        position: index in the stream of the token before the command.
        turn: number of the turn in the episode.
        label: the command that should be imitated, if any.
    """
    row = {node: index for index, node in enumerate(trie.branching)}
    wanted = {} if label is None else dict(trie.paths[label])
    found = []
    for node, child in trie.paths[command]:
        tokens = trie.alternatives[node]
        logprobs = heads.logprobs[row[node], : len(tokens)]
        found.append(
            Choice(
                position=position + trie.depths[node],
                turn=turn,
                alternatives=tokens,
                chosen=child,
                logprob=float(logprobs[child]),
                value=float(heads.values[row[node]]),
                q_value=0.0 if heads.q_values is None else float(heads.q_values[row[node], child]),
                entropy=float(-(np.exp(logprobs) * logprobs).sum()),
                label=wanted.get(node),
            )
        )
    return found
