"""Measures the memory of runs, simulated with fake tensors, which hold no data."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import clip_grad_norm_
from transformers import masking_utils

from actde import Optimizer
from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import Choices
from agents.model.kv_cache import RaggedCache
from agents.model.lower_layers import layer_list
from agents.model.sharding import trunk_parameters
from agents.model.tree_decoder import TreeInput, forward_trees
from agents.protocol import AgentError
from agents.training.live_bytes import LiveBytes
from agents.training.master_weights import optimized_parameters
from agents.training.updater import make_torch_optimizer

STREAMS = 16
"""Maximum number of simulated streams."""
SIMULATED_LAYERS = (2, 3)
"""Numbers of layers of the simulated models."""
TURN_TOKENS = 128
"""Assumed number of tokens that an episode adds per turn."""
CHOICE_TOKENS, ALTERNATIVES, DISTINCT_TOKENS = 8, 4, 64
"""Assumptions for agents that choose among admissible commands: stream tokens per choice, alternatives per choice, and
distinct alternatives per micro-batch.
"""
Measure = Callable[[ActorCritic, LiveBytes], tuple[int, ...]]
"""A function that runs a model of fake tensors in a `LiveBytes` context and returns sizes in bytes."""


class UnpredictableError(AgentError):
    """The model cannot be simulated, because its operations depend on tensor values."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """Measures the memory of simulated parts of a training run, in bytes."""

    model: ActorCritic
    config: UpdateConfig
    optimizer: Optimizer
    _: KW_ONLY
    free: bool = False  # the agent chooses among all tokens of the vocabulary
    on_gpu: bool = False
    sharded: bool = False  # the run shards the trunk

    def rollout(self, *, parallel: int, context: int) -> tuple[float, float]:
        """Return peak sizes: a tuple (key/value cache, all other tensors)."""
        if parallel > STREAMS:  # the sizes grow linearly
            half, whole = (self.rollout(parallel=number, context=context) for number in (STREAMS // 2, STREAMS))
            factor = (parallel - STREAMS) / (STREAMS // 2)
            cache, other_tensors = (b + (b - a) * factor for a, b in zip(half, whole, strict=True))
            return cache, other_tensors

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            before = memory.live
            cache = _play(fake, parallel, context, free=self.free)
            size = sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.written)
            return size, memory.peak - before - size

        cache, other_tensors = self._extrapolate(self._simulate(measure))
        return cache, other_tensors

    def update(self, *, rows: int, context: int) -> float:
        """Return the peak memory that an update allocates for a micro-batch."""

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            if self.config.gradient_checkpointing:
                fake.enable_gradient_checkpointing()
            if self.sharded:  # the gradients of the embeddings count as activations
                _allocate_gradients({p for p in fake.parameters() if p.requires_grad} - _root_parameters(fake))
            else:
                _allocate_gradients(optimized_parameters(make_torch_optimizer(fake, self.config)))
            memory.reset_peak()
            before = memory.live
            with _peak_at_last_layer(fake, memory) as peaks:
                _backward(fake, rows, context, self.optimizer, free=self.free)
            return (peaks[0] if peaks else memory.peak) - before, memory.peak - before

        # Until the last layer is differentiated, the activations of all layers are in memory. Later peaks, such as
        # the gradient of the embedding, do not depend on the number of layers.
        measured = self._simulate(measure)
        return max(self._extrapolate(measured)[0], measured[-1][1])

    def step(self) -> float:
        """Return the peak size of the temporary tensors of a gradient step."""

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            torch_optimizer = make_torch_optimizer(fake, self.config)
            for group in torch_optimizer.param_groups if self.on_gpu else ():  # torch's default on a GPU
                group["foreach"] = True
            _allocate_gradients(optimized_parameters(torch_optimizer))
            torch_optimizer.step()  # creates the moments
            memory.reset_peak()
            clip_grad_norm_(optimized_parameters(torch_optimizer), 1.0)
            torch_optimizer.step()
            return (memory.peak - memory.live,)

        return self._extrapolate(self._simulate(measure))[0]

    def _extrapolate(self, measured: Sequence[tuple[int, ...]]) -> list[float]:
        missing_layers = self.model.layers - max(SIMULATED_LAYERS)
        return [sizes[-1] + missing_layers * float(sizes[-1] - sizes[0]) for sizes in zip(*measured, strict=True)]

    def _simulate(self, measure: Measure) -> list[tuple[int, ...]]:
        """Run `measure` with the first 2 layers and with the first 3. If layers differ, use all layers."""
        layers, results = _equal_layers(self.model) if self.model.layers > max(SIMULATED_LAYERS) else None, []
        for count in (None,) if layers is None else SIMULATED_LAYERS:
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            with nullcontext() if layers is None else _first_layers_only(layers, count):
                fake = _fake_copy(self.model, mode)
            with _without_packed_rows(), warnings.catch_warnings(), mode, LiveBytes() as memory:
                warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
                memory.add([*fake.parameters(), *fake.buffers()])
                try:
                    results.append(measure(fake, memory))
                except (RuntimeError, TypeError, ValueError) as error:
                    raise UnpredictableError(f"{type(self.model.base).__name__} needs numbers: {error}") from error
        return results


def _fake_copy(model: ActorCritic, mode: FakeTensorMode) -> ActorCritic:
    model.forget_conversions()
    fakes: dict[int, Tensor] = {}
    with mode:
        for tensor in (*model.parameters(), *model.buffers()):
            fake = torch.empty_like(tensor, device="cpu" if tensor.is_meta else tensor.device)
            is_parameter = isinstance(tensor, nn.Parameter)
            fakes[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.requires_grad) if is_parameter else fake
    return copy.deepcopy(model, fakes)


@contextmanager
def _without_packed_rows() -> Iterator[None]:
    """Disable the detection of packed rows, which reads the values of tensors."""
    original = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original


@contextmanager
def _peak_at_last_layer(fake: ActorCritic, memory: LiveBytes) -> Iterator[list[int]]:
    """Yield an empty list, to which the last layer's backward pass appends the peak memory so far."""
    peaks = list[int]()

    def record(gradient: Tensor) -> None:
        if not peaks:  # with gradient checkpointing, the layer is run again
            peaks.append(memory.peak)

    def add_hooks(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and value.requires_grad:
                value.register_hook(record)  # type: ignore[no-untyped-call]

    layers = _remaining_layers(fake)
    hook = layers[-1].register_forward_pre_hook(add_hooks, with_kwargs=True) if layers else None
    yield peaks
    if hook:
        hook.remove()


@torch.no_grad()
def _play(fake: ActorCritic, parallel: int, context: int, *, free: bool) -> RaggedCache:
    fake.train(False)
    new_tokens = max(1, min(TURN_TOKENS, context // 4))
    cache = RaggedCache(fake.layers)
    cache.layers = cache.layers[: len(_remaining_layers(fake)) or None]
    rows = [cache.add_row() for _ in range(parallel)]
    hidden = torch.empty(0)
    for end in (context * 3 // 4, context):
        for row in rows:
            cache.append(row, [0] * (end - new_tokens - cache.lengths[row]))
        hidden = forward_trees(fake, cache, [TreeInput(row=row, tokens=[0] * new_tokens) for row in rows])
    if free:
        fake.all_logprobs(hidden)
        if len(fake.heads.q):
            fake.all_q(hidden)
    return cache


def _allocate_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)


def _backward(fake: ActorCritic, rows: int, context: int, optimizer: Optimizer, *, free: bool) -> None:
    fake.train()
    count = rows * context // (1 if free else CHOICE_TOKENS) or 1
    alternatives = 1 if free else ALTERNATIVES
    distinct = min(DISTINCT_TOKENS, count * alternatives, fake.vocabulary)

    def indices(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=fake.device)

    choices = Choices(
        rows=indices(count),
        positions=indices(count),
        alternatives=indices(count, alternatives),
        chosen=indices(count),
        whole_vocabulary=free,
    )
    reference_states = (
        torch.zeros(count, int(fake.config.hidden_size), device=fake.device) if optimizer.needs_reference else None
    )

    @torch.no_grad()
    def reference(chosen: slice) -> Tensor:
        assert reference_states is not None
        return (
            fake.all_logprobs(reference_states[chosen])
            if free
            else torch.zeros(count, alternatives, device=fake.device)[chosen]
        )

    heads = fake.evaluate_choices(
        fake.hidden_states(indices(rows, context), use_cache=False),
        choices,
        reference=None if reference_states is None else reference,
        with_expected_q=optimizer.needs_expected_q,
        with_q_logprobs=optimizer.needs_q_logprobs,
        distinct_tokens=(indices(distinct), indices(count, alternatives)),
    )
    outputs = [getattr(heads, field.name) for field in fields(heads)]
    sum((output.sum() for output in outputs if output is not None and output.requires_grad), torch.zeros(())).backward()


def _equal_layers(model: ActorCritic) -> nn.ModuleList | None:
    """Return the decoder's layers, or None if parameters differ between layers."""
    layers = layer_list(model)
    shapes = [[(name, p.shape, p.requires_grad) for name, p in layer.named_parameters()] for layer in layers or ()]
    return layers if all(shape == shapes[0] for shape in shapes) else None


@contextmanager
def _first_layers_only(layers: nn.ModuleList, count: int | None) -> Iterator[None]:
    all_layers = layers._modules
    layers._modules = dict(list(all_layers.items())[:count])
    try:
        yield
    finally:
        layers._modules = all_layers


def _remaining_layers(fake: ActorCritic) -> list[nn.Module]:
    modules = fake.decoder.modules() if isinstance(fake.decoder, nn.Module) else ()
    lists = [m for m in modules if isinstance(m, nn.ModuleList) and 0 < len(m) <= fake.layers]
    return list(max(lists, key=len, default=[]))


def _root_parameters(fake: ActorCritic) -> set[nn.Parameter]:
    """Return the trunk's parameters that belong to no layer."""
    return trunk_parameters(fake).keys() - {p for layer in _remaining_layers(fake) for p in layer.parameters()}
