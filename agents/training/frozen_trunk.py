"""Saves time in updates: layers that are not trained run once per rollout, instead of in every gradient step.

With `--lr 0`, only the heads are trained, so all layers of the trunk run once. With `--lora-layers`, the layers below
the adapter run once. Their hidden states are computed without gradient and stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.lower_layers import frozen_layers, lower_layers_only
from agents.model.packed_attention import can_pack
from agents.model.sharding import is_sharded
from agents.training.frozen_states import RolloutStates
from agents.training.rollout_batch import MicroBatch, RolloutBatch

if TYPE_CHECKING:
    from agents.training.updater import Updater


def trains_heads_alone(updater: "Updater") -> bool:
    """Return True if only the heads are trained and all gradient steps have the same last hidden states.

    This is the case if `--lr` is 0, the learning rate of v or q is not, and the trunk has no dropout. With a sharded
    trunk or with the auxiliary next-token loss, the result is False.
    """
    rates = {"policy": 0.0, "value": 0.0, "q": 0.0}
    groups = updater.torch_optimizer.param_groups
    rates |= {group.get("name", "policy"): group.get("full_lr", group["lr"]) for group in groups}
    model = updater.model
    noisy = model.training and (model.noisy_trunk or any(map(_drops, model.lm.modules())))
    heads_alone = rates["policy"] == 0 and max(rates.values()) > 0
    return heads_alone and not noisy and not updater.config.lm_loss_coef and not is_sharded(model)


def keep_lower_states(updater: "Updater", rollout: RolloutBatch) -> float:
    """Compute the hidden states after the layers below the adapter once, and store them in `rollout`.

    The reference policy and all epochs then run the upper layers alone. `trunk_runs_once` frees the states.

    Return the number of computed tokens, weighted as in `computed_tokens`. The function computes nothing and returns 0
    if one of these holds: `frozen_layers` is 0, `trains_heads_alone` is True, the trunk is sharded, or the reference
    policy does not share the frozen parameters.
    """
    model, reference = updater.model, updater.reference.copy
    if is_sharded(model) or trains_heads_alone(updater) or not (layers := frozen_layers(model)):
        return 0.0
    fixed = {parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    shared = reference is None or fixed <= {*reference.lm.parameters()}
    return _read(model, updater.config, rollout, layers) if shared else 0.0


@contextmanager
def trunk_runs_once(updater: "Updater", rollout: RolloutBatch) -> Iterator[float]:
    """A context for gradient steps. If only the heads are trained, the trunk runs once, when the context begins.

    The last hidden states are then stored in `rollout`, and only the heads require gradients within the context. Yield
    the number of tokens that the trunk computed, or 0 if `trains_heads_alone` is False. When the context ends, all
    hidden states in `rollout` are freed, those of `keep_lower_states` included.
    """
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
    """Return the number of tokens that a pass over `part` computes, weighted by the share of the layers that run."""
    own = sum(len(rollout.segments[row].tokens) for row in part.segments)
    computed = own if part.tree is None else len(part.tree.tokens)
    if part.frozen is None:
        return float(computed)
    return 0.0 if part.frozen.layers is None else computed * (1 - part.frozen.layers / model.layers)


@torch.no_grad()
def _read(model: ActorCritic, config: UpdateConfig, rollout: RolloutBatch, layers: int | None) -> float:
    """Compute hidden states of all tokens of a rollout without gradient, and store them in `rollout.frozen`.

    These are the states after the lowest `layers` layers or, if `layers` is None, the last hidden states. Return the
    number of computed tokens, weighted as in `computed_tokens`.
    """
    computed, kept = 0.0, RolloutStates([segment.tokens for segment in rollout.segments], layers)
    with model.mode(training=False):
        share = config.prefix_sharing == "auto" and can_pack(model)
        for part in rollout.micro_batches(range(len(rollout)), config.micro_batch_tokens, share_prefixes=share):
            with lower_layers_only(model, layers) as lower, part.hidden_states(model) as last:
                kept.store(lower[0] if lower else last, part.segments, part.tree)
            computed += computed_tokens(rollout, part, model)
    rollout.frozen = kept
    return computed * (1.0 if layers is None else layers / model.layers)


def _drops(module: Any) -> bool:
    return isinstance(module, nn.Dropout) and module.training and module.p > 0
