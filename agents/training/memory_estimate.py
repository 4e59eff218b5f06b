"""Estimates and measures the peak memory of a training run."""

import resource
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import psutil
import torch
from torch import Tensor

from actde import optimizer_class
from actde.config import option
from agents.config import TrainConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.kv_cache import RaggedCache, room_for
from agents.model.sharding import gathered_bytes, trunk_parameters
from agents.model.tree_decoder import TreeInput, forward_trees
from agents.protocol import AgentError
from games.errors import is_out_of_memory

USABLE = 0.9
"""Fraction of a device's memory that a run may use. Libraries, the game and fragmentation need the rest."""
# Peak memory of an update divided by the size of its activations. The heap is fragmented: with glibc, ratios of 1.25 to
# 1.6 were measured.
HEAP_OVERHEAD = 1.6
# With gradient checkpointing: the share of all activations that fragmentation adds to the peak, and the number of
# layers whose activations are in memory at the same time.
CHECKPOINTING_COSTS = (0.4, 1.2)
MEGABYTE = 1_000_000
SMALLER_UPDATE = "lower --micro-batch-tokens, or use --gradient-checkpointing or --lora"
SMALLER_ROLLOUT = "lower --parallel or --context"
SMALLER_GATHER = "use --sharded-play layers or more processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """The memory that a run needs in addition to the model's weights, in bytes.

    The activations of n tokens need `per_pass + n * per_token + n**2 * per_pair`.

    Attributes:
        fixed: gradients, moments and master weights.
        replicated: the part of `fixed` that each process stores in full.
        per_position: keys and values of one token.
        checkpoint: hidden states that gradient checkpointing stores for one token.
        per_choice: one float32 vector over the vocabulary.
    """

    layers: int
    fixed: int
    replicated: int
    per_position: int
    per_pass: float
    per_token: float
    per_pair: float
    checkpoint: int
    per_choice: int

    @classmethod
    def of(cls, model: ActorCritic, config: UpdateConfig) -> Self:
        """Measure the memory needs of a model. Gradient checkpointing must be off."""
        short = max(1, min(32, model.context // 4))
        # the size of the activations of n tokens is c + a n + b n^2 bytes
        sizes = [_activation_size(model, length) for length in (short, 2 * short, 4 * short)]
        per_pair = (sizes[2] - sizes[1] - 2 * (sizes[1] - sizes[0])) / (6 * short**2)
        per_token = (sizes[1] - sizes[0]) / short - 3 * short * per_pair
        moments = 2 if config.torch_optimizer == "adamw" else 0
        trunk = trunk_parameters(model)
        trainable = [p for p in model.parameters() if p.requires_grad]
        state_sizes = [(p in trunk, 4 * p.numel() * (1 + moments + (p.dtype != torch.float32))) for p in trainable]
        return cls(
            layers=max(1, model.layers),
            fixed=sum(size for _, size in state_sizes),
            replicated=sum(size for in_trunk, size in state_sizes if not in_trunk),
            per_position=_position_size(model),
            per_pass=sizes[0] - short * per_token - short**2 * per_pair,
            per_token=per_token,
            per_pair=per_pair,
            checkpoint=model.layers * int(model.config.hidden_size) * model.dtype.itemsize,
            per_choice=4 * model.vocabulary,
        )

    def sharded(
        self,
        models: Sequence[ActorCritic],
        *,
        processes: int,
        on_device: bool,
        offloaded: bool,
        by_layer: bool = False,
    ) -> Self:
        """Return the needs of one process, including the weights, if the trunk is sharded.

        `models` are the trained model and any reference policy.
        """
        trunk = {parameter for model in models for parameter in trunk_parameters(model)}
        weights, gradients = _weight_and_gradient_sizes(trunk)
        other_weights, other_gradients = _weight_and_gradient_sizes(
            p for model in models for p in model.parameters() if p not in trunk
        )
        shard = 0 if offloaded else (self.fixed - self.replicated + weights) // processes
        replicated = self.replicated + (0 if on_device else other_weights)
        freed = other_gradients + (0 if offloaded else gradients // processes)
        gathered_trunk = 0 if on_device else sum(gathered_bytes(model, by_layer=by_layer) for model in models)
        return replace(self, fixed=shard + replicated + max(0, gathered_trunk - freed))

    def rollout(self, *, parallel: int, context: int) -> float:
        """Return the peak size of the key/value cache, in bytes."""
        # the peak includes a temporary copy of one layer
        return (1 + 1 / self.layers) * parallel * room_for(context, 0) * self.per_position

    def update(self, *, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Return the peak size of a micro-batch's activations, in bytes."""
        rows = max(1, micro_batch_tokens // context)
        activations = self.per_pass + rows * (self.per_token * context + self.per_pair * context**2)
        if not recompute:
            return HEAP_OVERHEAD * activations
        fragmentation, layers = CHECKPOINTING_COSTS
        return min(
            HEAP_OVERHEAD * activations,
            rows * context * self.checkpoint + (fragmentation + layers / self.layers) * activations,
        )

    def total(
        self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool, vocabulary_vectors: int = 0
    ) -> float:
        """Return the peak of the needs over a whole run, in bytes."""
        update = self.update(micro_batch_tokens=micro_batch_tokens, context=context, recompute=recompute)
        vectors = vocabulary_vectors * max(micro_batch_tokens, context) * self.per_choice
        # the cache is freed before the update, but the allocator may keep its memory
        return self.fixed + self.rollout(parallel=parallel, context=context) + update + vectors


def available(device: torch.device, processes: int = 1) -> int:
    """Return the free memory of a device, in bytes. CPU memory is divided by `processes`."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available) // processes


def capacity(device: torch.device, processes: int = 1) -> int:
    """Return the total memory of a device, in bytes. CPU memory is divided by `processes`."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total) // processes


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process so far, in bytes. On a GPU, only tensors count."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Add the note `advice` to out-of-memory errors of the `with` block."""
    try:
        yield
    except BaseException as error:
        if is_out_of_memory(error) and not getattr(error, "__notes__", None):
            error.add_note(advice)
        raise


def context_of(config: TrainConfig, model: ActorCritic) -> int:
    """Return the maximum length of a token stream, in tokens."""
    return min(config.rollout.context or model.context, model.context)


def run_sizes(config: TrainConfig, context: int) -> dict[str, Any]:
    """Return the settings that determine how much memory a run needs, by name."""
    parallel = min(config.rollout.parallel, config.rollout.episodes)
    return {"micro_batch_tokens": config.update.micro_batch_tokens, "parallel": parallel, "context": context}


def peak_estimator(needs: MemoryNeeds, config: TrainConfig, *, context: int) -> Callable[..., float]:
    """Return a function that computes `needs.total`. The function's keyword arguments replace settings of the run."""
    optimizer = optimizer_class(config.run.optimizer)
    vectors = 1 + (optimizer.needs_kl or config.optimizer.needs_reference) + optimizer.needs_expected_q
    return partial(
        needs.total,
        **run_sizes(config, context),
        recompute=config.update.gradient_checkpointing,
        vocabulary_vectors=vectors if config.rollout.mode == "free" else 0,
    )


def check_memory(needs: MemoryNeeds, config: TrainConfig, *, context: int, free: int, advice: str = "") -> None:
    """Raise `AgentError` if a run needs more than `free` bytes."""
    estimate_peak, sizes = peak_estimator(needs, config, context=context), run_sizes(config, context)
    if estimate_peak() <= free:
        return
    hint = ", or use --gradient-checkpointing" if estimate_peak(recompute=True) <= free else ""
    raise AgentError(
        f"{sizes['parallel']} live streams of {context} tokens and --micro-batch-tokens {sizes['micro_batch_tokens']} "
        f"need about {estimate_peak() / MEGABYTE:,.0f} MB of memory, and {free / MEGABYTE:,.0f} MB are free: "
        f"{_size_advice(sizes, estimate_peak, free)}{hint}{f', or use {advice}' if advice else ''}"
    )


def _size_advice(sizes: Mapping[str, int], estimate_peak: Callable[..., float], free: int) -> str:
    candidates = (
        (("micro_batch_tokens",), sizes["context"]),
        (("parallel",), 1),
        (("context", "micro_batch_tokens"), 16),
    )
    for names, minimum in candidates:
        numbers = range(minimum, sizes[names[0]] + 1)

        def exceeds(number: int, names: tuple[str, ...] = names) -> bool:
            return estimate_peak(**{name: min(sizes[name], number) for name in names}) > free

        if count := bisect_left(numbers, True, key=exceeds):
            return f"lower {' and '.join(map(option, names))} to {numbers[count - 1]}"
    return "choose a smaller trunk"


def _weight_and_gradient_sizes(parameters: Iterable[Tensor]) -> tuple[int, int]:
    weights = gradients = 0
    for p in parameters:
        # the master weights of trained bfloat16 weights are counted in `MemoryNeeds.fixed`
        weights += p.nbytes if not p.requires_grad or p.dtype == torch.float32 else 0
        gradients += 4 * p.numel() if p.requires_grad else 0
    return weights, gradients


def _activation_size(model: ActorCritic, length: int) -> int:
    parameter_storages = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, Tensor] = {}

    def record(tensor: Tensor) -> None:
        # A graph that stores a tensor with its own history is never freed, so the hook detaches and returns nothing.
        if tensor.untyped_storage().data_ptr() not in parameter_storages:
            storages[tensor.untyped_storage().data_ptr()] = tensor.detach()

    hooks = torch.autograd.graph.saved_tensors_hooks(record, lambda nothing: nothing)
    with model.mode(training=True), torch.random.fork_rng(), hooks:
        model.hidden_states(torch.zeros(1, length, dtype=torch.int64, device=model.device), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@torch.no_grad()
def _position_size(model: ActorCritic) -> int:
    cache = RaggedCache(model.layers)
    with model.mode(training=False):
        forward_trees(model, cache, [TreeInput(row=cache.add_row(), tokens=[0])])
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.written) // room_for(1, 0)
