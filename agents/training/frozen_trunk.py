"""Runs frozen layers only once per rollout, with `--lr 0` or `--lora-layers`."""

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
    """Stores one hidden state for each token of a rollout.

    `layers` is the number of frozen lower layers. None stands for the last hidden states, in float32.
    """

    def __init__(self, streams: Sequence[Indices], layers: int | None) -> None:
        self.layers, self._lengths = layers, np.array([len(stream) for stream in streams])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._states = torch.empty(0)  # [total number of tokens, d]

    def store(self, states: Tensor, rows: Sequence[int], tree: PrefixTree | None) -> None:
        """Store hidden states [b, L, d] or, with a prefix tree of P nodes, [1, P, d]."""
        if not len(self._states):
            dtype = torch.float32 if self.layers is None else states.dtype
            self._states = states.new_empty(int(self._lengths.sum()), states.shape[2], dtype=dtype)
        index, places = self._tokens(rows, tree)
        row, position = (torch.from_numpy(place).to(states.device) for place in places)
        self._states[torch.from_numpy(index).to(states.device)] = states[row, position].to(self._states.dtype)

    def of(self, shape: Sequence[int], rows: Sequence[int], tree: PrefixTree | None) -> FrozenStates:
        """Return hidden states for tokens of shape [b, L] or [1, P]. They are arbitrary at padding."""
        indices = np.zeros(shape, dtype=np.int64)
        index, places = self._tokens(rows, tree)
        indices[places] = index
        return FrozenStates(self.layers, self._states[torch.from_numpy(indices).to(self._states.device)])

    def _tokens(self, rows: Sequence[int], tree: PrefixTree | None) -> tuple[Indices, tuple[Indices, Indices]]:
        """Return the tokens' indices [n] in `_states`, and their rows and positions in a micro-batch."""
        which = np.asarray(rows)
        own = np.repeat(np.arange(len(which)), self._lengths[which])
        positions = np.concatenate([np.arange(length) for length in self._lengths[which]])
        return self._starts[which][own] + positions, locate(tree, own, positions)


def trains_heads_alone(updater: "Updater") -> bool:
    """Return whether only the heads are trained, on hidden states that do not change."""
    rates = {"policy": 0.0, "value": 0.0, "q": 0.0}
    for group in updater.torch_optimizer.param_groups:
        rates[group.get("name", "policy")] = group.get("full_lr", group["lr"])
    model = updater.model
    dropouts = (module for module in model.lm.modules() if isinstance(module, nn.Dropout) and module.training)
    noisy = model.training and (model.noisy_trunk or any(dropout.p > 0 for dropout in dropouts))
    heads_alone = rates["policy"] == 0 and max(rates.values()) > 0
    return heads_alone and not noisy and not updater.config.lm_loss_coef and not is_sharded(model)


def keep_lower_states(updater: "Updater", rollout: RolloutBatch) -> float:
    """Store the hidden states below the adapter in `rollout`. Return the number of computed tokens."""
    model, reference = updater.model, updater.reference.copy
    if is_sharded(model) or trains_heads_alone(updater) or not (layers := frozen_layers(model)):
        return 0.0
    fixed = {parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    shared = reference is None or fixed <= {*reference.lm.parameters()}
    return _read(model, updater.config, rollout, layers) if shared else 0.0


@contextmanager
def trunk_runs_once(updater: "Updater", rollout: RolloutBatch) -> Iterator[float]:
    """Run the trunk only once in the block, if only the heads are trained. Yield the number of computed tokens."""
    frozen, computed = list[nn.Parameter](), 0.0
    if trains_heads_alone(updater):
        named = updater.model.named_parameters()
        frozen = [p for name, p in named if p.requires_grad and not name.startswith("heads.")]
        computed = _read(updater.model, updater.config, rollout, None)
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield computed
    finally:
        rollout.frozen = None
        for parameter in frozen:
            parameter.requires_grad_(True)


def computed_tokens(rollout: RolloutBatch, part: MicroBatch, model: ActorCritic) -> float:
    """Return the tokens that a pass computes, weighted by the share of layers that run."""
    own = sum(len(rollout.segments[row].tokens) for row in part.segments)
    computed = own if part.tree is None else len(part.tree.tokens)
    if part.frozen is None:
        return float(computed)
    return 0.0 if part.frozen.layers is None else computed * (1 - part.frozen.layers / model.layers)


@torch.no_grad()
def _read(model: ActorCritic, config: UpdateConfig, rollout: RolloutBatch, layers: int | None) -> float:
    """Store the hidden states of a rollout. Return the number of computed tokens."""
    computed, kept = 0.0, RolloutStates([segment.tokens for segment in rollout.segments], layers)
    with model.mode(training=False):
        for part in rollout.passes(model, config):
            with lower_layers_only(model, layers) as lower, part.hidden_states(model) as last:
                kept.store(lower[0] if lower else last, part.segments, part.tree)
            computed += computed_tokens(rollout, part, model)
    rollout.frozen = kept
    return computed * (1.0 if layers is None else layers / model.layers)
