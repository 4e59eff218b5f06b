"""Predicts the peak memory of a run per device, for `train --dry-run`.

The sizes of weights, gradients, moments and master weights follow from the shapes of the parameters. The rest comes
from a simulation with fake tensors (`agents.training.memory_simulation`). A model on torch's meta device is therefore
enough, and nothing is allocated. The prediction is the largest total size of tensors that exist at the same time. It
excludes libraries, the Python program and the memory allocator. The check before a run
(`agents.training.memory_estimate`) is quicker and includes the allocator.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from actde import Optimizer
from agents.config import TrainConfig
from agents.model.actor_critic import ActorCritic
from agents.model.sharding import gathered_bytes, trunk_parameters, unit_bytes
from agents.training.memory_simulation import Loss, Simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Peak memory of a run on one device, in bytes.

    A trunk in shards is gathered unit by unit (`agents.model.sharding`). Each decoder layer is a unit. The embeddings,
    the last norm and the lm_head form the root unit.

    Attributes:
        weights: parameters and buffers of the trunk, the adapter and the heads; with shards, one process's part.
            Offloaded shards are not on the device, and neither are their gradients and moments.
        reference: the frozen copy of the initial policy.
        moments: the torch optimizer's moments.
        master_weights: the float32 copy of a bfloat16 trunk that is trained in full.
        gradients: all gradients, in float32.
        cache: the rollout's key/value cache.
        play: the other tensors of the rollout, at its peak.
        activations: the tensors of the largest micro-batch at the peak of its forward and backward passes; with shards,
            also the gradients of the parameters that are in no layer.
        step: the temporary tensors of a gradient step.
        gathered_play: with shards, the gathered parameters during play.
        gathered_update: with shards, the gathered parameters and a layer's gradients during the update.
        gathered_step: with shards, the root unit of the frozen copy. Only this unit stays gathered in gradient steps.
        gathering: with shards, the root units of all models, and the message through which one root unit is gathered.
            They occupy memory before the first activations.
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
    gathered_step: float = 0.0
    gathering: float = 0.0

    @property
    def phases(self) -> dict[str, float]:
        """The peak of each phase: rollout, update (forward and backward passes) and step."""
        state = self.weights + self.reference + self.moments + self.master_weights
        return {
            "rollout": state + self.cache + self.play + self.gathered_play,
            "update": state + self.gradients + max(self.activations + self.gathered_update, self.gathering),
            "step": state + self.gradients + self.step + self.gathered_step,
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
        by_layer: whether play gathers a sharded trunk layer by layer, instead of as a whole.
        offloaded: whether a process stores its shards of the trunk in CPU memory instead of on its GPU.
    """

    model: ActorCritic
    config: TrainConfig
    optimizer: Optimizer
    copied: bool
    ranks: int = 1
    on_gpu: bool = False
    by_layer: bool = False
    offloaded: bool = False
    _simulated: dict[tuple[object, ...], Any] = field(default_factory=dict)

    def predict(
        self, *, parallel: int, micro_batch_tokens: int, context: int, recompute: bool | None = None
    ) -> Prediction:
        """Predict the peak memory of a run with `parallel` live streams of up to `context` tokens.

        A micro-batch holds as many streams of `context` tokens as `micro_batch_tokens` allows, but at least one.
        `recompute` says whether gradient checkpointing is on; if it is None, `config` determines this.
        """
        recompute = self.config.update.gradient_checkpointing if recompute is None else recompute
        simulation = Simulation(self.model, self.config.update, self.loss, recompute, self.on_gpu, self.ranks > 1)
        rows = max(1, micro_batch_tokens // context)
        cache, play = self._once(simulation.rollout, parallel=parallel, context=context)
        activations = self._once(simulation.update, recompute, rows=rows, context=context)
        step = self._once(simulation.step) * self._share_of_trained
        return Prediction(**self._fixed, cache=cache, play=play, activations=activations, step=step)

    def _once(self, simulate: Callable[..., Any], *key: object, **sizes: int) -> Any:
        """Return the result of `simulate(**sizes)`, which runs only once for the same `key` and `sizes`."""
        where = (simulate.__name__, *key, *sizes.items())
        if where not in self._simulated:
            self._simulated[where] = simulate(**sizes)
        return self._simulated[where]

    @property
    def loss(self) -> Loss:
        """The outputs that the loss of the run needs."""
        return Loss(
            whole_vocabulary=self.config.rollout.mode == "free",
            with_kl=self.optimizer.needs_reference,
            with_expected_q=self.optimizer.needs_expected_q,
            with_q_logprobs=self.optimizer.needs_q_logprobs,
        )

    @property
    def _share_of_trunk(self) -> float:
        """Fraction of the trunk that a process stores on its device."""
        return 0.0 if self.offloaded else 1 / self.ranks

    @property
    def _share_of_trained(self) -> float:
        """Fraction of the trained parameters that a process stores on its device."""
        trunk, trained = trunk_parameters(self.model), [p for p in self.model.parameters() if p.requires_grad]
        stored = sum(p.numel() * (self._share_of_trunk if p in trunk else 1) for p in trained)
        return stored / (sum(p.numel() for p in trained) or 1)

    @cached_property
    def _fixed(self) -> dict[str, float]:
        """The components of a `Prediction` that do not depend on the arguments of `predict`."""
        trunk, masters = trunk_parameters(self.model), 0
        moments = 2 if self.config.update.torch_optimizer == "adamw" else 0
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        sizes = dict.fromkeys(("weights", "reference", "moments", "master_weights", "gradients"), 0.0)
        sharded = self.ranks > 1
        with_masters = self.model.dtype == torch.bfloat16 and any(p.requires_grad for p in trunk)
        for name, p in self.model.named_parameters():
            share = self._share_of_trunk if p in trunk else 1.0
            trained, exact = p.requires_grad, 4 * p.numel()
            stored = exact if sharded and with_masters and p in trunk else p.nbytes
            masters = exact if trained and p.dtype != torch.float32 and not sharded else 0
            copied = self.copied and (sharded or trained or name.startswith("heads."))
            sizes["weights"] += stored * share
            sizes["reference"] += copied * p.nbytes * share  # without master weights, as it is frozen
            sizes["moments"] += trained * moments * exact * share
            sizes["master_weights"] += masters
            sizes["gradients"] += trained * exact * share
        sizes["weights"] += buffers
        return sizes | (self._gathered() if sharded else {})

    def _gathered(self) -> dict[str, float]:
        """Return the components of a `Prediction` that are above 0 only with shards.

        `gathered_update` holds the root units, two layers and, if the trunk is trained, the gradients of one layer
        before they are summed over the processes. The gradients of the root unit count as activations
        (`Simulation.update`).
        """
        root, layer = unit_bytes(self.model)
        copies = 2 if self.copied else 1
        trained = any(parameter.requires_grad for parameter in trunk_parameters(self.model))
        return {
            "gathered_play": copies * gathered_bytes(self.model, by_layer=self.by_layer),
            "gathered_update": copies * root + (2 + trained) * layer,
            "gathered_step": (copies - 1) * root,
            "gathering": (copies + 1) * root,
        }
