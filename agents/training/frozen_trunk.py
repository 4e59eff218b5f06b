"""Runs the frozen layers of the trunk only once per rollout."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.lower_layers import FrozenStates, frozen_layers, lower_layers_only
from agents.model.prefix_tree import Indices, PrefixTree, locate
from agents.model.sharding import is_sharded
from agents.training.rollout_batch import MicroBatch, RolloutBatch

if TYPE_CHECKING:
    from agents.training.updater import Updater


class RolloutStates:
    """Stores each token's hidden state after the lowest `layers` layers. `layers=None` means all layers."""

    def __init__(self, streams: Sequence[Indices], layers: int | None) -> None:
        self.layers, self._lengths = layers, np.array([len(stream) for stream in streams])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._states = torch.empty(0)  # [total number of tokens, d]

    def store(self, states: Tensor, rows: Sequence[int], tree: PrefixTree | None) -> None:
        """Store hidden states of the segments `rows`.

        `states` are [b, L, d] for b segments padded to L tokens, or [1, P, d] for the P nodes of `tree`.
        """
        if not len(self._states):
            dtype = torch.float32 if self.layers is None else states.dtype
            self._states = states.new_empty(int(self._lengths.sum()), states.shape[2], dtype=dtype)
        index, locations = self._token_indices(rows, tree)
        row, position = (torch.from_numpy(location).to(states.device) for location in locations)
        self._states[torch.from_numpy(index).to(states.device)] = states[row, position].to(self._states.dtype)

    def load(self, shape: Sequence[int], rows: Sequence[int], tree: PrefixTree | None) -> FrozenStates:
        """Return the states of the segments `rows`, shaped as in `store`."""
        indices = np.zeros(shape, dtype=np.int64)
        index, locations = self._token_indices(rows, tree)
        indices[locations] = index
        return FrozenStates(self.layers, self._states[torch.from_numpy(indices).to(self._states.device)])

    def _token_indices(self, rows: Sequence[int], tree: PrefixTree | None) -> tuple[Indices, tuple[Indices, Indices]]:
        """Return arrays over the tokens: indices in `_states`, and (rows, positions) in the micro-batch."""
        segment_index = np.asarray(rows)
        row_index = np.repeat(np.arange(len(segment_index)), self._lengths[segment_index])
        positions = np.concatenate([np.arange(length) for length in self._lengths[segment_index]])
        return self._starts[segment_index][row_index] + positions, locate(tree, row_index, positions)


def trains_heads_alone(updater: "Updater") -> bool:
    """Return whether only the heads are trained and the trunk's hidden states stay constant."""
    rates = {"policy": 0.0, "value": 0.0, "q": 0.0}
    for group in updater.torch_optimizer.param_groups:
        rates[group.get("name", "policy")] = group.get("full_lr", group["lr"])
    model = updater.model
    dropouts = (module for module in model.lm.modules() if isinstance(module, nn.Dropout) and module.training)
    noisy = model.training and (model.noisy_trunk or any(dropout.p > 0 for dropout in dropouts))
    heads_alone = rates["policy"] == 0 and max(rates.values()) > 0
    return heads_alone and not noisy and not updater.config.lm_loss_coef and not is_sharded(model)


def keep_lower_states(updater: "Updater", rollout: RolloutBatch) -> float:
    """If possible, fill `rollout.frozen` with outputs of frozen lower layers. Return the number of computed tokens."""
    model, reference = updater.model, updater.reference.copy
    if is_sharded(model) or trains_heads_alone(updater) or not (layers := frozen_layers(model)):
        return 0.0
    frozen = {parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    is_shared = reference is None or frozen <= {*reference.lm.parameters()}
    return _store_states(model, updater.config, rollout, layers) if is_shared else 0.0


@contextmanager
def trunk_runs_once(updater: "Updater", rollout: RolloutBatch) -> Iterator[float]:
    """If only heads are trained, run the trunk once as the `with` block begins. Yield the number of computed tokens."""
    frozen, computed = list[nn.Parameter](), 0.0
    if trains_heads_alone(updater):
        named = updater.model.named_parameters()
        frozen = [p for name, p in named if p.requires_grad and not name.startswith("heads.")]
        computed = _store_states(updater.model, updater.config, rollout, None)
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield computed
    finally:
        rollout.frozen = None
        for parameter in frozen:
            parameter.requires_grad_(True)


def computed_tokens(rollout: RolloutBatch, micro_batch: MicroBatch, model: ActorCritic) -> float:
    """Return the number of tokens in a forward pass, times the fraction of layers that run."""
    separate = sum(len(rollout.segments[row].tokens) for row in micro_batch.segments)
    computed = separate if micro_batch.tree is None else len(micro_batch.tree.tokens)
    if micro_batch.frozen is None:
        return float(computed)
    return 0.0 if micro_batch.frozen.layers is None else computed * (1 - micro_batch.frozen.layers / model.layers)


@torch.no_grad()
def _store_states(model: ActorCritic, config: UpdateConfig, rollout: RolloutBatch, layers: int | None) -> float:
    """Store hidden states in `rollout.frozen`. Return the number of computed tokens."""
    computed, rollout_states = 0.0, RolloutStates([segment.tokens for segment in rollout.segments], layers)
    with model.mode(training=False):
        for micro_batch in rollout.micro_batches_for(model, config):
            with lower_layers_only(model, layers) as lower, micro_batch.hidden_states(model) as last:
                rollout_states.store(lower[0] if lower else last, micro_batch.segments, micro_batch.tree)
            computed += computed_tokens(rollout, micro_batch, model)
    rollout.frozen = rollout_states
    return computed * (1.0 if layers is None else layers / model.layers)
