"""The memory prediction of `train --dry-run` under `accelerate launch`."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

from agents.config import TrainConfig
from agents.training import memory_prediction
from agents.training.memory_prediction import Prediction, launched_forecast


@pytest.mark.parametrize(("device", "policy", "offloaded"), [
    ("cuda", CPUOffloadPolicy(), True), ("cuda", OffloadPolicy(), False), ("cpu", CPUOffloadPolicy(), False),
])  # fmt: skip
def test_offloading_applies_to_processes_with_a_gpu(
    device: str, policy: OffloadPolicy, offloaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dict[str, Any]()

    def forecast(config: TrainConfig, **options: Any) -> Any:
        seen.update(options)
        prediction = Prediction(**dict.fromkeys(("weights", "reference", "moments", "master_weights", "gradients",
                                                 "cache", "play", "activations", "step"), 0.0))  # fmt: skip
        return SimpleNamespace(model=SimpleNamespace(context=64), predict=lambda **sizes: prediction)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(memory_prediction, "forecast", forecast)
    monkeypatch.setattr(memory_prediction, "sharding_plugin", lambda: SimpleNamespace(cpu_offload=policy))
    monkeypatch.setattr(memory_prediction, "capacity", lambda device, processes: 1)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **options: torch.device(device))
    _, sizes = launched_forecast(TrainConfig.from_flat({"game": "bandit"}))
    assert seen == {"ranks": 2, "offloaded": offloaded, "on_gpu": device != "cpu"} and sizes["shards"] == 2
