"""Predicts a run's peak memory per device. A run that does not fit is rejected before it starts.

The weights, gradients, moments and master weights are counted. The rest comes from a simulation with fake tensors
(`agents.training.memory_simulation`), so a model on torch's meta device is enough, and nothing is allocated. The
prediction is the largest sum over the tensors that exist at one time. What libraries, the Python program and the memory
allocator need is not part of it.
"""

import resource
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from actde import Optimizer
from actde.config import option
from agents.config import TrainConfig
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError
from agents.training.memory_simulation import Loss, Simulation

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Peak memory of a run on one device, in bytes.

    Attributes:
        weights: parameters and buffers of the trunk, the adapter and the heads; with shards, a process's part.
        reference: the frozen copy of the initial policy.
        moments: the torch optimizer's moments.
        master_weights: the float32 copy of a bfloat16 trunk that is trained in full.
        gradients: all gradients, in float32.
        cache: the rollout's key/value cache.
        play: the other tensors of the rollout, at its peak.
        activations: the tensors of the largest micro-batch at the peak of its forward and backward passes.
        step: the temporary tensors of a gradient step.
        gathered_play, gathered_update: with shards, what is gathered during play and during the update.
    """

    weights: float
    reference: float
    moments: float
    master_weights: float
    gradients: float
    cache: float
    play: float
    activations: float
    step: float
    gathered_play: float = 0.0
    gathered_update: float = 0.0

    @property
    def phases(self) -> dict[str, float]:
        """The peak of each phase: rollout, update (forward and backward passes) and step."""
        state = self.weights + self.reference + self.moments + self.master_weights
        return {
            "rollout": state + self.cache + self.play + self.gathered_play,
            "update": state + self.gradients + self.activations + self.gathered_update,
            "step": state + self.gradients + self.step + self.gathered_update,
        }

    @property
    def peak(self) -> float:
        """The peak of the whole run."""
        return max(self.phases.values())


@dataclass(kw_only=True)
class MemoryModel:
    """Predicts the memory of a run for a model, which may be on torch's meta device.

    Attributes:
        optimizer: the run's optimizer, which determines what the loss computes.
        copied: whether the run has a frozen copy of the initial policy (`reference_copy`).
        ranks: number of processes that share the trunk in shards (FSDP2). 1 means that the trunk is not sharded.
        on_gpu: whether the run is on a GPU.
    """

    model: ActorCritic
    config: TrainConfig
    optimizer: Optimizer
    copied: bool
    ranks: int = 1
    on_gpu: bool = False
    _simulated: dict[tuple[object, ...], Any] = field(default_factory=dict)

    def predict(
        self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool | None = None
    ) -> Prediction:
        """Predict the peak with `parallel` live streams of up to `context` tokens.

        A micro-batch holds as many streams of `context` tokens as `micro_batch_tokens` allows, but at least one.
        """
        recompute = self.config.update.gradient_checkpointing if recompute is None else recompute
        simulation = Simulation(self.model, self.config.update, self.loss, recompute, self.on_gpu)
        rows = max(1, micro_batch_tokens // context)
        cache, play = self._once(simulation.rollout, parallel=parallel, context=context)
        activations = self._once(simulation.update, recompute, rows=rows, context=context)
        return Prediction(
            **self._fixed, cache=cache, play=play, activations=activations, step=self._once(simulation.step)
        )

    def _once(self, simulate: Callable[..., Any], *key: object, **sizes: int) -> Any:
        """Return the result of a simulation, which is run once for the same arguments."""
        where = (simulate.__name__, *key, *sizes.items())
        if where not in self._simulated:
            self._simulated[where] = simulate(**sizes)
        return self._simulated[where]

    @property
    def loss(self) -> Loss:
        """What the loss computes."""
        return Loss(
            whole_vocabulary=self.config.rollout.mode == "free",
            with_kl=self.optimizer.needs_reference,
            with_expected_q=self.optimizer.needs_expected_q,
            with_q_logprobs=self.optimizer.needs_q_logprobs,
        )

    @cached_property
    def _fixed(self) -> dict[str, float]:
        """The components that do not depend on the sizes of batches."""
        names, masters = dict(self.model.named_parameters()), 0
        trunk = {name: p for name, p in names.items() if not name.startswith("heads.") and "lora_" not in name}
        moments = 2 if self.config.update.torch_optimizer == "adamw" else 0
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        sizes = dict.fromkeys(("weights", "reference", "moments", "master_weights", "gradients"), 0.0)
        sharded = self.ranks > 1
        with_masters = self.model.dtype == torch.bfloat16 and any(p.requires_grad for p in trunk.values())
        for name, p in names.items():
            share = self.ranks if name in trunk else 1
            trained, exact = p.requires_grad, 4 * p.numel()
            stored = exact if sharded and with_masters and name in trunk else p.nbytes
            masters = exact if trained and p.dtype != torch.float32 and not sharded else 0
            copied = self.copied and (sharded or trained or name.startswith("heads."))
            sizes["weights"] += stored / share
            sizes["reference"] += copied * stored / share
            sizes["moments"] += trained * moments * exact / share
            sizes["master_weights"] += masters
            sizes["gradients"] += trained * exact / share
        sizes["weights"] += buffers
        return sizes | (self._gathered(trunk) if sharded else {})

    def _gathered(self, trunk: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
        """Return what shards need while they are gathered: the trunk in play; the root unit and two layers in updates.

        The root unit has as many bytes of gradients again, before they are summed over the processes.
        """
        kinds = self.model.base._no_split_modules or ()
        units = [module for module in self.model.lm.modules() if type(module).__name__ in kinds]
        layers = [sum(p.nbytes for p in unit.parameters() if any(p is q for q in trunk.values())) for unit in units]
        whole = sum(p.nbytes for p in trunk.values())
        root, layer = whole - sum(layers), max(layers, default=0)
        copies = 2 if self.copied else 1
        trained = any(p.requires_grad for p in trunk.values())
        return {"gathered_play": copies * whole, "gathered_update": (copies + trained) * root + (2 + trained) * layer}


def available(device: torch.device) -> int:
    """Return the free memory of the device, in bytes."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.virtual_memory().available)


def peak_memory(device: torch.device) -> int:
    """Return the largest memory that this process has used so far, in bytes: that of a GPU, or of the process itself.

    On a GPU, this is the largest memory that tensors of this process occupied at any one time.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def sizes_of(config: TrainConfig, model: ActorCritic) -> dict[str, int]:
    """Return the arguments of `MemoryModel.predict` for a run."""
    return {
        "micro_batch_tokens": config.update.micro_batch_tokens,
        "parallel": min(config.rollout.parallel, config.rollout.episodes),
        "context": min(config.rollout.context or model.context, model.context),
    }


def check_memory(memory: MemoryModel, *, free: int) -> None:
    """Raise `AgentError` if a run needs more than `free` bytes in addition to its weights, which are loaded already.

    The message suggests settings with which the run fits.
    """
    sizes = sizes_of(memory.config, memory.model)

    def need(*, recompute: bool | None = None, **smaller: int) -> float:
        predicted = memory.predict(**(sizes | smaller), recompute=recompute)
        return predicted.peak - predicted.weights - predicted.reference

    if need() <= free:
        return
    hint = ", or use --gradient-checkpointing" if need(recompute=True) <= free else ""
    raise AgentError(
        f"{sizes['parallel']} live streams of {sizes['context']} tokens and --micro-batch-tokens "
        f"{sizes['micro_batch_tokens']} need about {need() / MEGABYTE:,.0f} MB of memory, and {free / MEGABYTE:,.0f} "
        f"MB are free: {_smaller(sizes, need, free)}{hint}"
    )


def _smaller(sizes: Mapping[str, int], need: Callable[..., float], free: int) -> str:
    """Return a hint: the first setting whose reduction suffices, and its largest value at which the run fits."""
    rows = (("micro_batch_tokens",), sizes["context"]), (("parallel",), 1), (("context", "micro_batch_tokens"), 16)
    for names, least in rows:
        numbers = range(least, sizes[names[0]] + 1)

        def exceeds(number: int, names: tuple[str, ...] = names) -> bool:
            return need(**{name: min(sizes[name], number) for name in names}) > free

        fitting = bisect_left(numbers, True, key=exceeds)
        if fitting:
            return f"lower {' and '.join(map(option, names))} to {numbers[fitting - 1]}"
    return "choose a smaller trunk"
