"""Estimate of a run's peak memory, so that a run that does not fit is refused before it starts.

The estimate adds to the loaded weights the rollout's key/value cache, the activations of the update's largest
micro-batch, gradients and moments. Activations are measured with passes over three short streams, so the estimate
holds for any decoder, adapter and dropout. It ignores the heads, which are large only for choices over the whole
vocabulary, and memory limits of the process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from agents.config import TrainConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.kv_cache import RaggedCache, room_for
from agents.model.tree_decoder import TreeInput, forward_trees
from agents.protocol import AgentError

HEAP = 1.6
"""Peak of an update divided by its activations, due to heap fragmentation (1.25 to 1.6 measured, glibc)."""
RECOMPUTED = (0.4, 1.2)
"""With gradient checkpointing: share of all activations (fragmentation), and number of layers kept at a time."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """Memory of a model's rollout and update on top of its weights, in bytes."""

    layers: int
    fixed: int
    """Gradients, and the torch optimizer's moments."""
    per_position: int
    """Keys and values of a token in the rollout's cache."""
    per_pass: float
    """Activations of a pass that do not depend on its length."""
    per_token: float
    """Activations per token."""
    per_pair: float
    """Activations per pair of tokens of a stream; 0 unless attention keeps its probabilities."""
    checkpoint: int
    """Activations per token with gradient checkpointing: a hidden state per layer."""

    @classmethod
    def of(cls, model: ActorCritic, config: UpdateConfig) -> Self:
        """Measure a model that does not recompute its activations yet; the random-number generator is unchanged."""
        short = max(1, min(32, model.context // 4))
        kept = [_activations(model, length) for length in (short, 2 * short, 4 * short)]  # c + a n + b n^2
        per_pair = (kept[2] - kept[1] - 2 * (kept[1] - kept[0])) / (6 * short**2)
        per_token = (kept[1] - kept[0]) / short - 3 * short * per_pair
        trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
        hidden_size: int = model.base.config.hidden_size
        return cls(
            layers=max(1, model.layers),
            fixed=trained * (3 if config.torch_optimizer == "adamw" else 1),
            per_position=_position(model),
            per_pass=kept[0] - short * per_token - short**2 * per_pair,
            per_token=per_token,
            per_pair=per_pair,
            checkpoint=model.layers * hidden_size * next(model.base.parameters()).itemsize,
        )

    def rollout(self, *, parallel: int, context: int) -> float:
        """Peak of the cache of `parallel` streams of `context` tokens, with the copy of one layer."""
        return (1 + 1 / self.layers) * parallel * room_for(context, 0) * self.per_position

    def update(self, *, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Peak of a micro-batch of at least one stream of `context` tokens."""
        rows = max(1, micro_batch_tokens // context)
        kept = self.per_pass + rows * (self.per_token * context + self.per_pair * context**2)
        if not recompute:
            return HEAP * kept
        share, layer = RECOMPUTED
        return min(HEAP * kept, rows * context * self.checkpoint + (share + layer / self.layers) * kept)

    def total(self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Peak of all together; the cache stays allocated during the update."""
        update = self.update(micro_batch_tokens=micro_batch_tokens, context=context, recompute=recompute)
        return self.fixed + self.rollout(parallel=parallel, context=context) + update


def available(device: torch.device) -> int:
    """Free memory of the device, in bytes."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.virtual_memory().available)


def check_memory(needs: MemoryNeeds, config: TrainConfig, *, context: int, free: int) -> None:
    """Raise `AgentError`, with a smaller setting that would fit, if a run does not fit into `free` bytes."""
    sizes = {
        "micro_batch_tokens": config.update.micro_batch_tokens,
        "parallel": min(config.rollout.parallel, config.rollout.episodes),
        "context": context,
    }

    def need(*, recompute: bool = config.update.gradient_checkpointing, **smaller: int) -> float:
        return needs.total(**(sizes | smaller), recompute=recompute)

    if need() <= free:
        return
    hint = ", or use gradient_checkpointing" if need(recompute=True) <= free else ""
    raise AgentError(
        f"{sizes['parallel']} live streams of {context} tokens and micro_batch_tokens of {sizes['micro_batch_tokens']} "
        f"need about {need() / MEGABYTE:,.0f} MB of memory, and {free / MEGABYTE:,.0f} MB are free: "
        f"{_smaller(sizes, need, free)}{hint}"
    )


def _smaller(sizes: Mapping[str, int], need: Callable[..., float], free: int) -> str:
    """The first setting that suffices if it is lowered, and its value, as a hint."""
    rows = (("micro_batch_tokens",), sizes["context"]), (("parallel",), 1), (("context", "micro_batch_tokens"), 16)
    for names, least in rows:
        for number in range(sizes[names[0]], least - 1, -1):
            if need(**{name: min(sizes[name], number) for name in names}) <= free:
                return f"lower {' and '.join(names)} to {number}"
    return "choose a smaller trunk"


def _activations(model: ActorCritic, length: int) -> int:
    """Bytes of the activations of a pass over one stream."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    training = model.training
    model.train()
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden_states(torch.zeros(1, length, dtype=torch.int64, device=model.device), use_cache=False)
    model.train(training)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@torch.no_grad()
def _position(model: ActorCritic) -> int:
    """Bytes of keys and values per token in the cache."""
    training = model.training
    model.eval()
    cache = RaggedCache(model.layers)
    forward_trees(model, cache, [TreeInput(row=cache.add_row(), tokens=[0])])
    model.train(training)
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.layers) // room_for(1, 0)
