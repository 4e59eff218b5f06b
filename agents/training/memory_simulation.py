"""Runs a rollout pass, an update and a gradient step with fake tensors, and counts the memory that they need.

Fake tensors of torch have a shape, a data type and a device, but no data. All operations are those of a real run, so
the counts hold for any decoder, adapter, kind of attention, dropout and gradient checkpointing. Memory that a kernel
needs internally is not counted.

The layers of a decoder are usually alike. It is then simulated twice, with its first two and its first three layers.
Each further layer adds the difference between the two results. A decoder with different layers is simulated as a whole.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import clip_grad_norm_
from transformers import masking_utils

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import Choices
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, forward_trees
from agents.protocol import AgentError
from agents.training.live_bytes import LiveBytes
from agents.training.master_weights import stepped
from agents.training.simulated_layers import equal_layers, first_layers_only, remaining_layers, root_parameters
from agents.training.updater import make_torch_optimizer

STREAMS = 16
"""Largest number of streams that is simulated."""
SIMULATED = (2, 3)
"""Numbers of layers with which a model is simulated."""
TURN_TOKENS = 128
"""Assumed number of tokens that an episode adds per turn."""
CHOICE_TOKENS, ALTERNATIVES, DISTINCT = 8, 4, 64
"""Assumptions if the agent chooses commands.

They are the number of tokens per choice, of alternatives per choice, and of distinct alternatives per micro-batch.
"""


Measure = Callable[[ActorCritic, LiveBytes], tuple[int, ...]]
"""A function that runs a model of fake tensors in a `LiveBytes` context, and returns the measured sizes in bytes."""


class UnpredictableError(AgentError):
    """A model cannot be simulated, because its operations depend on tensor values, as in a mixture of experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The outputs that the loss of a run needs.

    Attributes:
        whole_vocabulary: whether the agent chooses among all tokens.
        with_kl, with_expected_q, with_q_logprobs: whether the loss needs `kl`, `expected_q` and `q_logprobs` of
            `HeadOutputs`.
    """

    whole_vocabulary: bool = False
    with_kl: bool = False
    with_expected_q: bool = False
    with_q_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Simulation:
    """Simulates the phases of a run in one process that holds the whole model. All sizes are in bytes.

    Attributes:
        model: a real model, or one on the meta device. It is copied and not changed.
        config: settings of the update, such as the torch optimizer.
        loss: the outputs that the loss needs.
        recompute: whether gradient checkpointing is on.
        on_gpu: whether the torch optimizer works as on a GPU, where it updates all parameters at once.
        sharded: whether the trunk is sharded in the run. A process then holds the whole gradients of the embeddings
            from their computation to the end of the backward pass, when they are summed.
    """

    model: ActorCritic
    config: UpdateConfig
    loss: Loss
    recompute: bool
    on_gpu: bool
    sharded: bool = False

    def rollout(self, *, parallel: int, context: int) -> tuple[float, float]:
        """Return a tuple: the size of the key/value cache of `parallel` streams, and that of other tensors at the peak.

        At most 16 streams are simulated. As streams are alike, the sizes for more streams are extrapolated linearly
        from those for 8 and for 16 streams.
        """
        if parallel > STREAMS:
            half, whole = (self.rollout(parallel=number, context=context) for number in (STREAMS // 2, STREAMS))
            further = (parallel - STREAMS) / (STREAMS // 2)
            cache, others = (b + (b - a) * further for a, b in zip(half, whole, strict=True))
            return cache, others

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            before = memory.live
            cache = _play(fake, parallel, context, self.loss)
            size = sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.written)
            return size, memory.peak - before - size

        cache, others = self._for_all_layers(self._measured(measure))
        return cache, others

    def update(self, *, rows: int, context: int) -> float:
        """Return the peak size of the tensors of a micro-batch of `rows` streams with `context` tokens each.

        Gradients of parameters are not included, with one exception: if the trunk is sharded, the gradients of the
        embeddings and of the trunk's other parameters outside the layers are included.
        """

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            if self.recompute:
                fake.enable_gradient_checkpointing()
            if self.sharded:
                _set_gradients({p for p in fake.parameters() if p.requires_grad} - root_parameters(fake))
            else:
                _set_gradients(stepped(make_torch_optimizer(fake, self.config)))
            memory.reset_peak()
            before = memory.live
            with _peak_before_last_layer(fake, memory) as early:
                _backward(fake, rows, context, self.loss)
            return (early[0] if early else memory.peak) - before, memory.peak - before

        # Until the last layer is differentiated, the activations of all layers are in memory. Later peaks, such as
        # the gradient of the embedding, do not depend on the number of layers.
        measured = self._measured(measure)
        return max(self._for_all_layers(measured)[0], measured[-1][1])

    def step(self) -> float:
        """Return the size of the temporary tensors at the peak of a gradient step."""

        def measure(fake: ActorCritic, memory: LiveBytes) -> tuple[int, ...]:
            torch_optimizer = make_torch_optimizer(fake, self.config)
            for group in torch_optimizer.param_groups if self.on_gpu else ():
                group["foreach"] = True
            _set_gradients(stepped(torch_optimizer))
            torch_optimizer.step()  # creates the moments
            memory.reset_peak()
            clip_grad_norm_(stepped(torch_optimizer), 1.0)
            torch_optimizer.step()
            return (memory.peak - memory.live,)

        return self._for_all_layers(self._measured(measure))[0]

    def _for_all_layers(self, measured: Sequence[tuple[int, ...]]) -> list[float]:
        """Extrapolate the results of `_measured` to all layers of the model. Return the sizes in bytes."""
        further = self.model.layers - max(SIMULATED)
        return [sizes[-1] + further * float(sizes[-1] - sizes[0]) for sizes in zip(*measured, strict=True)]

    def _measured(self, measure: Measure) -> list[tuple[int, ...]]:
        """Run `measure` on two copies of the model, with its first two and with its first three layers.

        The tensors of the copies have shapes, but no storage. Return both results. If the model has at most three
        layers, or if its layers differ, return the result for the whole model alone.
        """
        layers, results = equal_layers(self.model) if self.model.layers > max(SIMULATED) else None, []
        for count in (None,) if layers is None else SIMULATED:
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            with first_layers_only(layers, count):
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
    """Return a copy of fake tensors, which is on a CPU if the model is on the meta device."""
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
    """Let decoders assume that positions increase by 1, because they cannot read positions from fake tensors.

    Without this assumption, decoders would build masks that a real run does not need.
    """
    before = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = before


@contextmanager
def _peak_before_last_layer(fake: ActorCritic, memory: LiveBytes) -> Iterator[list[int]]:
    """Yield an empty list. When the backward pass has left the last layer, the peak of `memory` so far is appended."""
    peaks = list[int]()

    def note(gradient: Tensor) -> None:
        if not peaks:  # with gradient checkpointing, the layer is run again
            peaks.append(memory.peak)

    def attach(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and value.requires_grad:
                value.register_hook(note)  # type: ignore[no-untyped-call]

    layers = remaining_layers(fake)
    hook = layers[-1].register_forward_pre_hook(attach, with_kwargs=True) if layers else None
    yield peaks
    if hook:
        hook.remove()


@torch.no_grad()
def _play(fake: ActorCritic, parallel: int, context: int, loss: Loss) -> RaggedCache:
    """Simulate play: fill the key/value cache of `parallel` streams with `context` tokens each, and return it."""
    fake.train(False)
    new = max(1, min(TURN_TOKENS, context // 4))
    cache = RaggedCache(fake.layers)
    cache.layers = cache.layers[: len(remaining_layers(fake)) or None]
    rows = [cache.add_row() for _ in range(parallel)]
    hidden = torch.empty(0)
    for end in (context * 3 // 4, context):
        for row in rows:
            cache.append(row, [0] * (end - new - cache.lengths[row]))
        hidden = forward_trees(fake, cache, [TreeInput(row=row, tokens=[0] * new) for row in rows])
    if loss.whole_vocabulary:
        fake.all_logprobs(hidden)
        if len(fake.heads.q):
            fake.all_q(hidden)
    return cache


def _set_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give each parameter a gradient of 0. In a real run, gradients exist from a step's second micro-batch on."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)


def _backward(fake: ActorCritic, rows: int, context: int, loss: Loss) -> None:
    """Run the forward and backward passes of a micro-batch."""
    fake.train()
    count = rows * context // (1 if loss.whole_vocabulary else CHOICE_TOKENS) or 1
    width = 1 if loss.whole_vocabulary else ALTERNATIVES
    distinct = min(DISTINCT, count * width, fake.vocabulary)

    def indices(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=fake.device)

    choices = Choices(
        rows=indices(count),
        positions=indices(count),
        alternatives=indices(count, width),
        chosen=indices(count),
        whole_vocabulary=loss.whole_vocabulary,
    )
    earlier = torch.zeros(count, int(fake.config.hidden_size), device=fake.device) if loss.with_kl else None

    @torch.no_grad()
    def reference(chosen: slice) -> Tensor:
        assert earlier is not None
        if loss.whole_vocabulary:
            return fake.all_logprobs(earlier[chosen])
        return torch.zeros(count, width, device=fake.device)[chosen]

    heads = fake.evaluate_choices(
        fake.hidden_states(indices(rows, context), use_cache=False),
        choices,
        reference=reference if loss.with_kl else None,
        with_expected_q=loss.with_expected_q,
        with_q_logprobs=loss.with_q_logprobs,
        distinct=(indices(distinct), indices(count, width)),
    )
    outputs = [getattr(heads, field.name) for field in fields(heads)]
    sum((output.sum() for output in outputs if output is not None and output.requires_grad), torch.zeros(())).backward()
