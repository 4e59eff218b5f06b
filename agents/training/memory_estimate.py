"""How much memory a run will need, asked before it begins: a stream that is too long for the machine is refused.

What a pass keeps for its gradient is not guessed from the architecture but counted, on three short streams,
so it holds for any decoder, adapter and dropout. The estimate is of the peak, on top of the loaded weights: the
key/value cache of the rollout, the activations of the update's largest micro-batch, gradients and moments.
Leaves out the heads, which are small unless the whole vocabulary is open, and limits set on the process from outside.
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
"""Peak of an update over what its pass keeps: holes in the C library's heap (1.25 to 1.6 measured, glibc)."""
RECOMPUTED = (0.4, 1.2)
"""With gradient checkpointing the peak has this share of a whole pass's activations (holes), and this many layers'."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """What a model's rollout and update need on top of its weights; bytes."""

    layers: int
    fixed: int
    """Gradients, and the stepper's moments."""
    per_position: int
    """Keys and values of one token in the rollout's cache."""
    per_pass: float
    """What a pass keeps for the gradient whatever its length."""
    per_token: float
    """What it keeps for each token."""
    per_pair: float
    """What it keeps for each pair of tokens of a stream: 0 unless attention keeps its probabilities."""
    checkpoint: int
    """What it keeps for each token with gradient checkpointing: one hidden state per layer."""

    @classmethod
    def of(cls, model: ActorCritic, config: UpdateConfig) -> Self:
        """Count for a model that does not recompute its activations yet; draws no random number."""
        short = max(1, min(32, model.context // 4))
        kept = [_kept(model, length) for length in (short, 2 * short, 4 * short)]  # c + a n + b n^2
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
        """Peak of the cache of `parallel` streams of `context` tokens, with the copy of the layer at hand."""
        return (1 + 1 / self.layers) * parallel * room_for(context, 0) * self.per_position

    def update(self, *, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Peak of a micro-batch of streams of `context` tokens; there is at least one stream in it."""
        rows = max(1, micro_batch_tokens // context)
        kept = self.per_pass + rows * (self.per_token * context + self.per_pair * context**2)
        if not recompute:
            return HEAP * kept
        share, layer = RECOMPUTED
        return min(HEAP * kept, rows * context * self.checkpoint + (share + layer / self.layers) * kept)

    def total(self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Everything at once: the cache stays where it is during the update."""
        update = self.update(micro_batch_tokens=micro_batch_tokens, context=context, recompute=recompute)
        return self.fixed + self.rollout(parallel=parallel, context=context) + update


def available(device: torch.device) -> int:
    """Bytes that are free on the device now."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.virtual_memory().available)


def check_memory(needs: MemoryNeeds, config: TrainConfig, *, context: int, free: int) -> None:
    """Refuse a run that would not fit into `free` bytes.

    Raises:
        AgentError: it would not; says which smaller number would fit.
    """
    asked = {
        "micro_batch_tokens": config.update.micro_batch_tokens,
        "parallel": min(config.rollout.parallel, config.rollout.episodes),
        "context": context,
    }

    def need(*, recompute: bool = config.update.gradient_checkpointing, **smaller: int) -> float:
        return needs.total(**(asked | smaller), recompute=recompute)

    if need() <= free:
        return
    hint = ", or use gradient_checkpointing" if need(recompute=True) <= free else ""
    raise AgentError(
        f"{asked['parallel']} live streams of {context} tokens and micro_batch_tokens of {asked['micro_batch_tokens']} "
        f"need about {need() / MEGABYTE:,.0f} MB of memory, and {free / MEGABYTE:,.0f} MB are free: "
        f"{_smaller(asked, need, free)}{hint}"
    )


def _smaller(asked: Mapping[str, int], need: Callable[..., float], free: int) -> str:
    """Which of the numbers to lower, and to what: the first that is enough."""
    rows = (("micro_batch_tokens",), asked["context"]), (("parallel",), 1), (("context", "micro_batch_tokens"), 16)
    for names, least in rows:
        for number in range(asked[names[0]], least - 1, -1):
            if need(**{name: min(asked[name], number) for name in names}) <= free:
                return f"lower {' and '.join(names)} to {number}"
    return "choose a smaller trunk"


def _kept(model: ActorCritic, length: int) -> int:
    """Bytes that a pass over one stream keeps for its gradient, parameters excepted."""
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
    """Bytes of keys and values that one token has in the cache."""
    training = model.training
    model.eval()
    cache = RaggedCache(model.layers)
    forward_trees(model, cache, [TreeInput(row=cache.add_row(), tokens=[0])])
    model.train(training)
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.layers) // room_for(1, 0)
