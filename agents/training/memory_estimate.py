"""Estimates and measures a run's peak memory. A run that does not fit is rejected before it starts.

If memory runs out later nevertheless, `memory_advice` adds advice to the error: settings that need less memory.

The loaded weights already occupy memory. The estimate adds the rollout's key/value cache, the activations of the
update's largest micro-batch, the gradients, the torch optimizer's moments, and the master weights of a bfloat16 trunk.
A stream is the token sequence of an episode. Activations are measured with passes over three short streams, so the
estimate holds for any decoder, adapter and dropout.

If the agent samples from the whole vocabulary, the estimate adds the vectors over the vocabulary that `VocabularyTerms`
stores. The estimate ignores the other activations of the heads, and memory limits of the process.
"""

import resource
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

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
HEAP = 1.6
# With gradient checkpointing: the share of all activations that fragmentation adds to the peak, and the number of
# layers whose activations are in memory at the same time.
RECOMPUTED = (0.4, 1.2)
MEGABYTE = 1_000_000
SMALLER_UPDATE = "lower --micro-batch-tokens, or use --gradient-checkpointing or --lora"
SMALLER_ROLLOUT = "lower --parallel or --context"
SMALLER_GATHER = "use --sharded-play layers or more processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """Memory that a model's rollout and update need in addition to its weights, in bytes.

    Attributes:
        fixed: size of the gradients, the torch optimizer's moments and the master weights, all in float32.
        replicated: the part of `fixed` that belongs to the heads and the adapter, which no process shards.
        per_position: size of one token's keys and values in the rollout's cache.
        per_pass: size of the part of a forward pass's activations that does not depend on the number of tokens.
        per_token: size of the activations that each token adds.
        per_pair: size of the activations that each pair of tokens of a stream adds. It is 0 unless attention stores its
            probabilities for the backward pass.
        checkpoint: size of the hidden states that gradient checkpointing stores for each token, one per layer.
        per_choice: size of one float32 vector over the vocabulary.
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
        """Measure how much memory a model needs. Gradient checkpointing must not be enabled yet."""
        short = max(1, min(32, model.context // 4))
        kept = [_activations(model, length) for length in (short, 2 * short, 4 * short)]  # bytes: c + a n + b n^2
        per_pair = (kept[2] - kept[1] - 2 * (kept[1] - kept[0])) / (6 * short**2)
        per_token = (kept[1] - kept[0]) / short - 3 * short * per_pair
        moments = 2 if config.torch_optimizer == "adamw" else 0
        trunk = trunk_parameters(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        sizes = [(p in trunk, 4 * p.numel() * (1 + moments + (p.dtype != torch.float32))) for p in trained]
        return cls(
            layers=max(1, model.layers),
            fixed=sum(size for _, size in sizes),
            replicated=sum(size for in_trunk, size in sizes if not in_trunk),
            per_position=_position(model),
            per_pass=kept[0] - short * per_token - short**2 * per_pair,
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
        moved: bool,
        offloaded: bool,
        by_layer: bool = False,
    ) -> Self:
        """Return the memory needs of each process if several processes shard the trunk (`agents.model.sharding`).

        A process stores a part of the trunk, and the whole heads and adapter, each with its gradients and optimizer
        state. During play, a process has no gradients, but holds the gathered weights of the trunk (`gathered_bytes`).

        Args:
            models: the trained model and, if there is one, the frozen copy of the initial policy.
            moved: whether the device already holds the models.
            offloaded: whether the trunk's parts are in CPU memory instead of on the device.
            by_layer: whether play gathers the trunk layer by layer, instead of as a whole.
        """
        trunk = {parameter for model in models for parameter in trunk_parameters(model)}
        weights, gradients = _stored(trunk)
        own_weights, own_gradients = _stored(p for model in models for p in model.parameters() if p not in trunk)
        part = 0 if offloaded else (self.fixed - self.replicated + weights) // processes
        replicated = self.replicated + (0 if moved else own_weights)
        freed = own_gradients + (0 if offloaded else gradients // processes)
        gathered = 0 if moved else sum(gathered_bytes(model, by_layer=by_layer) for model in models)
        return replace(self, fixed=part + replicated + max(0, gathered - freed))

    def rollout(self, *, parallel: int, context: int) -> float:
        """Return the peak size of the key/value cache for `parallel` streams of `context` tokens, in bytes."""
        # the peak includes a temporary copy of one layer
        return (1 + 1 / self.layers) * parallel * room_for(context, 0) * self.per_position

    def update(self, *, micro_batch_tokens: int, context: int, recompute: bool) -> float:
        """Return the peak size of the activations of a micro-batch, in bytes.

        The micro-batch holds as many streams of `context` tokens as `micro_batch_tokens` allows, but at least one.
        `recompute` says whether gradient checkpointing is on.
        """
        rows = max(1, micro_batch_tokens // context)
        kept = self.per_pass + rows * (self.per_token * context + self.per_pair * context**2)
        if not recompute:
            return HEAP * kept
        share, layer = RECOMPUTED
        return min(HEAP * kept, rows * context * self.checkpoint + (share + layer / self.layers) * kept)

    def total(
        self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool, per_vocabulary: int = 0
    ) -> float:
        """Return the peak memory of the whole run, in bytes.

        The rollout's cache is freed before the update, but it is added, because the allocator may keep its memory.

        `per_vocabulary` is the number of float32 vectors over the vocabulary that the update stores for every choice.
        The other arguments are those of `rollout` and `update`.
        """
        update = self.update(micro_batch_tokens=micro_batch_tokens, context=context, recompute=recompute)
        vocabulary = per_vocabulary * max(micro_batch_tokens, context) * self.per_choice
        return self.fixed + self.rollout(parallel=parallel, context=context) + update + vocabulary


def available(device: torch.device, processes: int = 1) -> int:
    """Return the memory that is free for one process of a run, in bytes.

    On a GPU, this is the free memory of `device`, because each process has its own GPU. On a CPU, the run's `processes`
    processes on this machine share the free RAM equally.
    """
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.virtual_memory().available) // processes


def capacity(device: torch.device, processes: int = 1) -> int:
    """Return a process's total memory in bytes: its GPU's, or 1/`processes` of the machine's RAM."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total) // processes


def peak_memory(device: torch.device) -> int:
    """Return the peak memory so far, in bytes: that of the tensors on a GPU, or that of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Add the note `advice` to out-of-memory errors of the block that have no note yet. Also works as a decorator."""
    try:
        yield
    except BaseException as error:
        if is_out_of_memory(error) and not getattr(error, "__notes__", None):
            error.add_note(advice)
        raise


def context_of(config: TrainConfig, model: ActorCritic) -> int:
    """Return the maximum length of a stream of a run, in tokens."""
    return min(config.rollout.context or model.context, model.context)


def run_sizes(config: TrainConfig, context: int) -> dict[str, Any]:
    """Return a dict of the sizes that determine a run's memory: `micro_batch_tokens`, `parallel` and `context`."""
    parallel = min(config.rollout.parallel, config.rollout.episodes)
    return {"micro_batch_tokens": config.update.micro_batch_tokens, "parallel": parallel, "context": context}


def needed(needs: MemoryNeeds, config: TrainConfig, *, context: int) -> Callable[..., float]:
    """Return a function that estimates the memory of a run in bytes.

    The function's keyword arguments replace the settings `recompute`, `parallel`, `micro_batch_tokens` and `context`.
    """
    optimizer = optimizer_class(config.run.optimizer)
    stored = 1 + (optimizer.needs_kl or config.optimizer.needs_reference) + optimizer.needs_expected_q
    return partial(
        needs.total,
        **run_sizes(config, context),
        recompute=config.update.gradient_checkpointing,
        per_vocabulary=stored if config.rollout.mode == "free" else 0,
    )


def check_memory(needs: MemoryNeeds, config: TrainConfig, *, context: int, free: int, advice: str = "") -> None:
    """Raise `AgentError` if a run needs more than `free` bytes.

    The message suggests settings with which the run fits, and the further setting `advice`, unless this is "".
    """
    need, sizes = needed(needs, config, context=context), run_sizes(config, context)
    if need() <= free:
        return
    hint = ", or use --gradient-checkpointing" if need(recompute=True) <= free else ""
    raise AgentError(
        f"{sizes['parallel']} live streams of {context} tokens and --micro-batch-tokens {sizes['micro_batch_tokens']} "
        f"need about {need() / MEGABYTE:,.0f} MB of memory, and {free / MEGABYTE:,.0f} MB are free: "
        f"{_smaller(sizes, need, free)}{hint}{f', or use {advice}' if advice else ''}"
    )


def _smaller(sizes: Mapping[str, int], need: Callable[..., float], free: int) -> str:
    """Return advice for the user: which setting to lower, and to which value, so that the run needs at most `free`.

    The advice names the first setting that suffices alone, and its largest value at which the run fits. `free` is in
    bytes. `sizes` is a result of `run_sizes`, and `need` is a result of `needed`.
    """
    rows = (("micro_batch_tokens",), sizes["context"]), (("parallel",), 1), (("context", "micro_batch_tokens"), 16)
    for names, least in rows:
        numbers = range(least, sizes[names[0]] + 1)

        def exceeds(number: int, names: tuple[str, ...] = names) -> bool:
            return need(**{name: min(sizes[name], number) for name in names}) > free

        fitting = bisect_left(numbers, True, key=exceeds)
        if fitting:
            return f"lower {' and '.join(map(option, names))} to {numbers[fitting - 1]}"
    return "choose a smaller trunk"


def _stored(parameters: Iterable[Tensor]) -> tuple[int, int]:
    """Return a tuple (size of the weights, size of their float32 gradients), in bytes.

    Trained bfloat16 weights do not count as weights, because `MemoryNeeds.fixed` contains their float32 master weights.
    """
    weights = gradients = 0
    for parameter in parameters:
        trained = parameter.requires_grad
        weights += parameter.nbytes if not trained or parameter.dtype == torch.float32 else 0
        gradients += 4 * parameter.numel() if trained else 0
    return weights, gradients


def _activations(model: ActorCritic, length: int) -> int:
    """Return the size of the activations of a pass over one stream of `length` tokens, in bytes."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> None:
        # A graph that stores a tensor with its own history is never freed, so the hook detaches and returns nothing.
        if tensor.untyped_storage().data_ptr() not in parameters:
            storages[tensor.untyped_storage().data_ptr()] = tensor.detach()

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing)
    with model.mode(training=True), torch.random.fork_rng(), hooks:
        model.hidden_states(torch.zeros(1, length, dtype=torch.int64, device=model.device), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@torch.no_grad()
def _position(model: ActorCritic) -> int:
    """Return the size of one token's keys and values in the cache, in bytes."""
    cache = RaggedCache(model.layers)
    with model.mode(training=False):
        forward_trees(model, cache, [TreeInput(row=cache.add_row(), tokens=[0])])
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.written) // room_for(1, 0)
