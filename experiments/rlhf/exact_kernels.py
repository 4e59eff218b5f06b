"""How fast v and q of SmolLM2 learn: the tangent kernel of the tied Q head, and the size of AdamW's steps."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from experiments.rlhf.exact_bandit import METHODS, initial_model
from experiments.rlhf.exact_tasks import TASKS, Array


def tied_kernel(model: ActorCritic, tokens: Tensor, arms: Tensor) -> Array:
    """Return the inner products between the gradients of the arms' q. The shape is [K, K].

    The gradients are with respect to the parameters of a tied Q head. For the hidden state h [d] and the output
    embedding e_a [d] of arm a, the entry (a, b) is (|h|^2 + 1) (1 + e_a . e_b / d). The 1 in the second factor belongs
    to the bias, which all arms share.
    """
    with torch.no_grad():
        hidden = model.hidden_states(tokens, use_cache=False)[0, -1]
        rows = model.base.get_output_embeddings().weight[arms]
        kernel = (hidden.square().sum() + 1) * (1 + rows @ rows.T / rows.shape[1])
    return np.asarray(kernel.numpy(), dtype=np.float64)


def measure() -> dict[str, Any]:
    """Return how fast gradient steps on the tied Q head change q for each task, and the size of AdamW's first step.

    For a task, `common` is the speed at which q of all arms changes by the same amount, and `differences` the mean
    speed of changes that sum to 0 over the arms. Both are Rayleigh quotients of the kernel (`differences` is a mean of
    several), per unit of the learning rate. `times` is the ratio common / differences. `adamw` is the largest change of
    v in AdamW's first step, per unit of the learning rate: 1 + sum_i |h_i|.
    """
    document: dict[str, Any] = {}
    for name, task in TASKS.items():
        model, tokens, arms = initial_model(task, METHODS["actde"], 0)
        kernel, count = tied_kernel(model, tokens, arms), len(arms)
        common = float(kernel.sum()) / count
        differences = (float(np.trace(kernel)) - common) / (count - 1)
        document[name] = {"common": common, "differences": differences, "times": common / differences}
    with torch.no_grad():
        document["adamw"] = 1 + float(model.hidden_states(tokens, use_cache=False)[0, -1].abs().sum())
    return document
