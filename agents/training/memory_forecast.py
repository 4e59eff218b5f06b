"""Predicts the memory of a run from its configuration alone. No weights are read, and nothing is allocated."""

import os
from collections.abc import Mapping
from dataclasses import replace

import games
from agents.config import SCRATCH, TrainConfig
from agents.imports import load_imports
from agents.model.build import meta_model
from agents.model.pretrained import read_trunk_config
from agents.model.sharding import sharding_plugin
from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer
from agents.training.game_words import vocabulary_of
from agents.training.memory_estimate import MEGABYTE, USABLE, capacity, context_of, run_sizes
from agents.training.memory_prediction import MemoryModel, Prediction
from agents.training.model_setup import needs_copy, plays_by_layer
from agents.user_optimizer import build_optimizer

ABOUT = {
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


def forecast(
    config: TrainConfig,
    *,
    ranks: int = 1,
    by_layer: bool = False,
    offloaded: bool = False,
    on_gpu: bool = False,
    trunk_config: object = None,
) -> MemoryModel:
    """Return a `MemoryModel`, which predicts the memory of the run with the settings `config`.

    Args:
        ranks: number of processes among which the trunk is sharded. 1 means that it is not sharded.
        by_layer: whether play gathers a sharded trunk layer by layer, instead of as a whole.
        offloaded: whether shards are stored in CPU memory instead of on the GPU.
        trunk_config: configuration of a pretrained trunk in the `transformers` library. If None, it is read from
            `config.json` in the trunk's folder. No other file is needed there.

    Raises:
        AgentError: the trunk's configuration is missing or invalid.
    """
    load_imports(config.run.imports)
    optimizer = build_optimizer(config.run.optimizer, config.optimizer)
    model_config = config.model if optimizer.trains_q else config.model.replace(q_heads=0)
    scratch = config.model.trunk in SCRATCH
    if not scratch and trunk_config is None:
        dropout = 0.0 if config.model.lora else config.model.dropout
        trunk_config = read_trunk_config(config.model.trunk, dropout=dropout)
    model = meta_model(model_config, trunk_config, _words(config) if scratch else 0, on_cpu=not on_gpu)
    return MemoryModel(
        model=model,
        config=config,
        optimizer=optimizer,
        copied=needs_copy(config, optimizer),
        ranks=ranks,
        by_layer=by_layer,
        offloaded=offloaded,
        on_gpu=on_gpu,
    )


def launched_forecast(config: TrainConfig) -> tuple[Prediction, dict[str, int]]:
    """Predict the memory of a run on this machine, with the number of processes that `accelerate launch` has started.

    Return a tuple: the prediction, and a dict of the sizes for which it holds, such as `context` and `processes`.
    """
    import torch
    from torch.distributed.fsdp import CPUOffloadPolicy

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    plugin = sharding_plugin() if processes > 1 else None
    ranks = 1 if plugin is None else processes
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    on_gpu = device.type != "cpu"  # offloading does not change the memory of a process without a GPU
    offloaded = on_gpu and plugin is not None and isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    memory = forecast(config, ranks=ranks, offloaded=offloaded, on_gpu=on_gpu)
    sizes = run_sizes(config, context_of(config, memory.model))
    predicted = memory.predict(**sizes)
    fits = predicted.peak <= USABLE * capacity(device, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    if ranks > 1 and plays_by_layer(config, fits=fits):
        predicted = replace(memory, by_layer=True).predict(**sizes)
    return predicted, sizes | {"processes": processes, "shards": ranks}


def prediction_lines(predicted: Prediction, sizes: Mapping[str, int]) -> list[str]:
    """Return the lines that state a prediction and its sizes, as comments of a TOML file."""
    phases = ", ".join(f"{name} {size / MEGABYTE:,.0f}" for name, size in predicted.phases.items())
    parts = {name: getattr(predicted, name) for name in ABOUT}
    return [
        f"# Predicted peak memory per process: {predicted.peak / MEGABYTE:,.0f} MB, without libraries and the game.",
        f"# Sizes: {', '.join(f'{name} {number}' for name, number in sizes.items())}; streams that fill the context.",
        f"# Peaks in MB: {phases}.",
        *(f"#   {name:16}{size / MEGABYTE:>10,.1f} MB  {ABOUT[name]}" for name, size in parts.items() if size),
    ]


def _words(config: TrainConfig) -> int:
    """Return the vocabulary size of a new trunk. Words that only random play would find are not counted."""
    words = vocabulary_of(games.resolve(config.run.game))
    return len(word_tokenizer(textworld_vocabulary() if words is None else words, specials=words is None))
