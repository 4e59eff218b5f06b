"""Updates in which layers that are not trained run once per rollout, without gradient.

These are all layers if the heads are trained alone (`--lr 0`), and the layers below the adapter with `--lora-layers`.
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
    """Return whether the last hidden states are the same in all gradient steps and need no gradient.

    This is the case if only the heads have a learning rate above 0 and the trunk has no dropout. With a sharded trunk
    or with the auxiliary next-token loss, the result is False.
    """
    rates = {"policy": 0.0, "value": 0.0, "q": 0.0}
    groups = updater.torch_optimizer.param_groups
    rates |= {group.get("name", "policy"): group.get("full_lr", group["lr"]) for group in groups}
    model = updater.model
    noisy = model.training and (model.noisy_trunk or any(map(_drops, model.lm.modules())))
    heads_alone = rates["policy"] == 0 and max(rates.values()) > 0
    return heads_alone and not noisy and not updater.config.lm_loss_coef and not is_sharded(model)


def keep_lower_states(updater: "Updater", rollout: RolloutBatch) -> float:
    """Compute the hidden states of the layers below the adapter once, and store them in `rollout`.

    The reference policy and all epochs then run the upper layers alone. `trunk_runs_once` frees the states. Nothing is
    computed if `frozen_layers` is 0, if `trains_heads_alone` is True, if the trunk is sharded, or if the reference
    policy has other lower layers. Return the number of computed tokens, weighted as in `computed_tokens`.
    """
    model, reference = updater.model, updater.reference.copy
    if is_sharded(model) or trains_heads_alone(updater) or not (layers := frozen_layers(model)):
        return 0.0
    fixed = {parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    shared = reference is None or fixed <= {*reference.lm.parameters()}
    return _read(model, updater.config, rollout, layers) if shared else 0.0


@contextmanager
def trunk_runs_once(updater: "Updater", rollout: RolloutBatch) -> Iterator[float]:
    """If only the heads are trained, compute the last hidden states once, and store them in `rollout`.

    The parameters of the policy then require no gradient within the context. The value of the context is the number of
    tokens that the trunk computed. It is 0 if `trains_heads_alone` is False. When the context ends, these hidden states
    and those of `keep_lower_states` are freed.
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
    """Set `rollout.frozen` to the states after the lowest `layers` layers, or to the last hidden states.

    Return the number of tokens that were computed, weighted as in `computed_tokens`.
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
