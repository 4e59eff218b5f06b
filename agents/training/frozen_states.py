"""Hidden states that no gradient step changes, for all tokens of a rollout (see `agents.training.frozen_trunk`)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.model.lower_layers import FrozenStates
from agents.model.prefix_tree import Indices, PrefixTree, locate


class RolloutStates:
    """Stores a hidden state for each token of a rollout, and provides the hidden states of a micro-batch.

    Args:
        streams: the token ids of each stream.
        layers: number of lower layers. The hidden states after these layers are stored, in their own data type. If
            None, the last hidden states are stored, in float32.
    """

    def __init__(self, streams: Sequence[Indices], layers: int | None) -> None:
        self.layers, self._lengths = layers, np.array([len(stream) for stream in streams])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._states = torch.empty(0)  # [total number of tokens, d]

    def store(self, states: Tensor, rows: Sequence[int], tree: PrefixTree | None) -> None:
        """Store the hidden states of the streams with the indices `rows`.

        `states` is [b, L, d] or, if the streams are packed in a prefix tree with P nodes, [1, P, d].
        """
        if not len(self._states):
            dtype = torch.float32 if self.layers is None else states.dtype
            self._states = states.new_empty(int(self._lengths.sum()), states.shape[2], dtype=dtype)
        index, places = self._tokens(rows, tree)
        row, position = (torch.from_numpy(place).to(states.device) for place in places)
        self._states[torch.from_numpy(index).to(states.device)] = states[row, position].to(self._states.dtype)

    def of(self, shape: Sequence[int], rows: Sequence[int], tree: PrefixTree | None) -> FrozenStates:
        """Return the hidden states of a micro-batch that consists of the streams with the indices `rows`.

        `shape` is that of the micro-batch's tokens: [b, L] or, if the streams are packed in `tree`, [1, P]. At padding,
        the hidden states are arbitrary.
        """
        indices = np.zeros(shape, dtype=np.int64)
        index, places = self._tokens(rows, tree)
        indices[places] = index
        return FrozenStates(self.layers, self._states[torch.from_numpy(indices).to(self._states.device)])

    def _tokens(self, rows: Sequence[int], tree: PrefixTree | None) -> tuple[Indices, tuple[Indices, Indices]]:
        """Locate the n tokens of the streams with the indices `rows`.

        Return a tuple: the indices [n] of the tokens in `_states`, and their (row [n], position [n]) in a micro-batch.
        """
        which = np.asarray(rows)
        own = np.repeat(np.arange(len(which)), self._lengths[which])
        positions = np.concatenate([np.arange(length) for length in self._lengths[which]])
        return self._starts[which][own] + positions, locate(tree, own, positions)
