"""Updates that train the heads alone (`--lr 0`): the trunk runs once per rollout, without gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.packed_attention import can_pack
from agents.model.sharding import is_sharded
from agents.training.rollout_batch import RolloutBatch

if TYPE_CHECKING:
    from agents.training.updater import Updater


def trains_heads_alone(updater: "Updater") -> bool:
    """Return whether the hidden states at choices are the same in all gradient steps and need no gradient.

    This is the case if only the heads have a learning rate and the trunk has no dropout. A sharded trunk and the
    auxiliary next-token loss, which needs other hidden states, are not supported.
    """
    rates = {"policy": 0.0, "value": 0.0, "q": 0.0}
    groups = updater.torch_optimizer.param_groups
    rates |= {group.get("name", "policy"): group.get("full_lr", group["lr"]) for group in groups}
    model = updater.model
    noisy = model.training and (model.noisy_trunk or any(map(_drops, model.lm.modules())))
    heads_alone = rates["policy"] == 0 and max(rates.values()) > 0
    return heads_alone and not noisy and not updater.config.lm_loss_coef and not is_sharded(model)


@contextmanager
def trunk_runs_once(updater: "Updater", rollout: RolloutBatch) -> Iterator[int]:
    """Compute the hidden states at all choices once, and keep them in `rollout` within the context.

    The parameters of the policy require no gradient within the context. If `trains_heads_alone` is False, nothing is
    done. The value of the context is the number of tokens that the trunk read.
    """
    if not trains_heads_alone(updater):
        yield 0
        return
    frozen = [p for name, p in updater.model.named_parameters() if p.requires_grad and not name.startswith("heads.")]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield _read(updater.model, updater.config, rollout)
    finally:
        rollout.states = None
        for parameter in frozen:
            parameter.requires_grad_(True)


@torch.no_grad()
def _read(model: ActorCritic, config: UpdateConfig, rollout: RolloutBatch) -> int:
    """Set `rollout.states`, and return the number of tokens that the trunk read."""
    computed, collected = 0, []
    with model.mode(training=False):
        share = config.prefix_sharing == "auto" and can_pack(model)
        for part in rollout.micro_batches(range(len(rollout)), config.micro_batch_tokens, share_prefixes=share):
            with part.hidden_states(model) as states:
                collected.append((part.choice_index, states[part.choices.rows, part.choices.positions]))
            own = sum(len(rollout.segments[row].tokens) for row in part.segments)
            computed += own if part.tree is None else len(part.tree.tokens)
    index, hidden = (torch.cat(pieces) for pieces in zip(*collected, strict=True))
    rollout.states = hidden[index.argsort()]
    return computed


def _drops(module: Any) -> bool:
    return isinstance(module, nn.Dropout) and module.training and module.p > 0
