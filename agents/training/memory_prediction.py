"""Predicts the peak memory of a run in advance (`train --dry-run`)."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch.distributed.fsdp import CPUOffloadPolicy

import games
from actde import Optimizer
from agents.config import SCRATCH, TrainConfig
from agents.imports import load_imports
from agents.model.actor_critic import ActorCritic
from agents.model.build import meta_model
from agents.model.pretrained import read_trunk_config
from agents.model.sharding import gathered_bytes, sharding_plugin, trunk_parameters, unit_bytes
from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer
from agents.training.game_words import vocabulary_of
from agents.training.memory_estimate import MEGABYTE, USABLE, capacity, context_of, run_sizes
from agents.training.memory_simulation import Simulation
from agents.training.model_setup import needs_reference_copy, plays_by_layer
from agents.user_optimizer import build_optimizer

DESCRIPTIONS = {
    "weights": "trunk, adapter and heads",
    "reference": "frozen copy of the initial policy",
    "moments": "of the torch optimizer",
    "master_weights": "float32 copy of a bfloat16 trunk",
    "gradients": "in float32",
    "cache": "keys and values of the rollout",
    "play": "other tensors of the rollout",
    "activations": "of the largest micro-batch",
    "step": "temporary tensors of a gradient step",
    "gathered_play": "shards gathered during play",
    "gathered_update": "shards gathered during the update",
    "gathered_step": "shards of the reference gathered during a gradient step",
    "gathering": "shards and their message, before the activations",
}
"""Descriptions of the components of a `Prediction`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted memory of a run on one device, in bytes. `DESCRIPTIONS` describes the fields."""

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
        state = self.weights + self.reference + self.moments + self.master_weights
        return {
            "rollout": state + self.cache + self.play + self.gathered_play,
            "update": state + self.gradients + max(self.activations + self.gathered_update, self.gathering),
            "step": state + self.gradients + self.step + self.gathered_step,
        }

    @property
    def peak(self) -> float:
        return max(self.phases.values())


@dataclass(kw_only=True)
class MemoryModel:
    """Predicts the memory of a training run. `model` may be on the meta device."""

    model: ActorCritic
    config: TrainConfig
    optimizer: Optimizer
    has_reference: bool  # a frozen copy of the initial policy
    ranks: int = 1  # processes that shard the trunk
    on_gpu: bool = False
    by_layer: bool = False  # play gathers one layer at a time
    offloaded: bool = False  # shards are in CPU memory
    _simulated: dict[tuple[object, ...], Any] = field(default_factory=dict)

    def predict(self, *, parallel: int, micro_batch_tokens: int, context: int) -> Prediction:
        """Predict the peak memory for `parallel` simultaneous episodes of `context` tokens."""
        simulation = Simulation(
            self.model,
            self.config.update,
            self.optimizer,
            free=self.config.rollout.mode == "free",
            on_gpu=self.on_gpu,
            sharded=self.ranks > 1,
        )
        rows = max(1, micro_batch_tokens // context)
        cache, play = self._simulate_once(simulation.rollout, parallel=parallel, context=context)
        activations = self._simulate_once(simulation.update, rows=rows, context=context)
        step = self._simulate_once(simulation.step) * self._trained_share
        return Prediction(**self._fixed, cache=cache, play=play, activations=activations, step=step)

    def _simulate_once(self, simulate: Callable[..., Any], **sizes: int) -> Any:
        key = (simulate.__name__, *sizes.items())
        if key not in self._simulated:
            self._simulated[key] = simulate(**sizes)
        return self._simulated[key]

    @property
    def _trunk_share(self) -> float:
        return 0.0 if self.offloaded else 1 / self.ranks

    @property
    def _trained_share(self) -> float:
        trunk, trained = trunk_parameters(self.model), [p for p in self.model.parameters() if p.requires_grad]
        stored = sum(p.numel() * (self._trunk_share if p in trunk else 1) for p in trained)
        return stored / (sum(p.numel() for p in trained) or 1)

    @cached_property
    def _fixed(self) -> dict[str, float]:
        """Fields of a `Prediction` that do not depend on the arguments of `predict`."""
        trunk, masters = trunk_parameters(self.model), 0
        moments = 2 if self.config.update.torch_optimizer == "adamw" else 0
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        sizes = dict.fromkeys(("weights", "reference", "moments", "master_weights", "gradients"), 0.0)
        sharded = self.ranks > 1
        with_masters = self.model.dtype == torch.bfloat16 and any(p.requires_grad for p in trunk)
        for name, p in self.model.named_parameters():
            share = self._trunk_share if p in trunk else 1.0
            trained, float32_size = p.requires_grad, 4 * p.numel()
            stored = float32_size if sharded and with_masters and p in trunk else p.nbytes
            masters = float32_size if trained and p.dtype != torch.float32 and not sharded else 0
            copied = self.has_reference and (sharded or trained or name.startswith("heads."))
            sizes["weights"] += stored * share
            sizes["reference"] += copied * p.nbytes * share  # without master weights, as it is frozen
            sizes["moments"] += trained * moments * float32_size * share
            sizes["master_weights"] += masters
            sizes["gradients"] += trained * float32_size * share
        sizes["weights"] += buffers
        return sizes | (self._gathered() if sharded else {})

    def _gathered(self) -> dict[str, float]:
        """Return a dict: field of `Prediction` -> size of gathered shards."""
        root, layer = unit_bytes(self.model)  # the gradients of the root unit count as activations
        copies = 2 if self.has_reference else 1
        trained = any(parameter.requires_grad for parameter in trunk_parameters(self.model))
        return {
            "gathered_play": copies * gathered_bytes(self.model, by_layer=self.by_layer),
            "gathered_update": copies * root + (2 + trained) * layer,  # two layers, and the gradients of one
            "gathered_step": (copies - 1) * root,  # only the frozen copy's root unit
            "gathering": (copies + 1) * root,  # the communication buffer is as large as a root unit
        }


def forecast(
    config: TrainConfig,
    *,
    ranks: int = 1,
    by_layer: bool = False,
    offloaded: bool = False,
    on_gpu: bool = False,
    trunk_config: object = None,
) -> MemoryModel:
    """Build the memory model of a run. Raise `AgentError` if a pretrained trunk's configuration cannot be read."""
    load_imports(config.run.imports)
    optimizer = build_optimizer(config.run.optimizer, config.optimizer)
    model_config = config.model if optimizer.trains_q else config.model.replace(q_heads=0)
    scratch = config.model.trunk in SCRATCH
    if not scratch and trunk_config is None:
        trunk_config = read_trunk_config(config.model.trunk, dropout=0.0 if config.model.lora else config.model.dropout)
    model = meta_model(model_config, trunk_config, _vocabulary_size(config) if scratch else 0, on_cpu=not on_gpu)
    return MemoryModel(
        model=model,
        config=config,
        optimizer=optimizer,
        has_reference=needs_reference_copy(config, optimizer),
        ranks=ranks,
        by_layer=by_layer,
        offloaded=offloaded,
        on_gpu=on_gpu,
    )


def launched_forecast(config: TrainConfig) -> tuple[Prediction, dict[str, int]]:
    """Predict the memory of one launched process. Return a tuple (prediction, assumed sizes)."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    plugin = sharding_plugin() if processes > 1 else None
    ranks = 1 if plugin is None else processes
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    on_gpu = device.type != "cpu"  # offloading does not change the memory of a process without a GPU
    offloaded = on_gpu and plugin is not None and isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    memory_model = forecast(config, ranks=ranks, offloaded=offloaded, on_gpu=on_gpu)
    sizes = run_sizes(config, context_of(config, memory_model.model))
    prediction = memory_model.predict(**sizes)
    fits = prediction.peak <= USABLE * capacity(device, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    if ranks > 1 and plays_by_layer(config, fits=fits):
        prediction = replace(memory_model, by_layer=True).predict(**sizes)
    return prediction, sizes | {"processes": processes, "shards": ranks}


def prediction_lines(prediction: Prediction, sizes: Mapping[str, int]) -> list[str]:
    """Format a prediction as comment lines of a TOML file."""
    phases = ", ".join(f"{name} {size / MEGABYTE:,.0f}" for name, size in prediction.phases.items())
    components = {name: getattr(prediction, name) for name in DESCRIPTIONS}
    return [
        f"# Predicted peak memory per process: {prediction.peak / MEGABYTE:,.0f} MB, without libraries and the game.",
        f"# Sizes: {', '.join(f'{name} {number}' for name, number in sizes.items())}; streams that fill the context.",
        f"# Peaks in MB: {phases}.",
        *(
            f"#   {name:16}{size / MEGABYTE:>10,.1f} MB  {DESCRIPTIONS[name]}"
            for name, size in components.items()
            if size
        ),
    ]


def _vocabulary_size(config: TrainConfig) -> int:
    words = vocabulary_of(games.resolve(config.run.game))
    return len(word_tokenizer(textworld_vocabulary() if words is None else words, specials=words is None))
