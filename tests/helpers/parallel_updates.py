"""One of the processes of `test_sharding.py`: `python -m tests.helpers.parallel_updates RANK COUNT OUT CASES`.

The process takes ten gradient steps on its episodes for each case, and writes the resulting weights and the last
metrics. OUT holds the pretrained trunks of the cases."""

import copy
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import save_file

from actde import OptimizerConfig
from agents.config import ModelConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.packed_attention import can_pack
from agents.model.sharding import gather_trunk, shard, whole
from agents.storage.checkpoint import trained_tensors
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import make_torch_optimizer
from tests.helpers.random_rollouts import random_rollout
from tests.helpers.updates import learn, updater

QUICK = ("llama-full-actde", "gpt_neox-lora-grpo-free", "llama-upper-ppo")
CASES = (
    *("-".join(names) for names in product(("llama", "gpt_neox", "qwen2"), ("full", "lora"),
                                            ("ppo", "actde", "grpo", "imitation"))),
    *QUICK, "llama-full-ilql", "qwen2-lora-ilql-free", "gpt_neox-full-mpo", "llama-full-rejection-unlabelled",
    "llama-full-ppo-free", "qwen2-lora-actde-free", "gpt_neox-full-actde-checkpointing", "llama-lora-ppo-checkpointing",
    "llama-full-actde-bfloat16", "gpt_neox-lora-ppo-bfloat16",
)  # fmt: skip
"""A case names architecture, trained weights and optimizer, and perhaps a mode. Each loss includes a KL to the initial
policy and the next-token loss at all positions. GRPO trains no heads, and weight decay must not change them."""
MODES = ("replicas", "sharded", "layers")
SETTINGS = {"epochs": 2, "micro_batch_tokens": 60, "max_grad_norm": 1.0, "lm_loss_coef": 0.1, "lm_loss_tokens": 1000}
SETTINGS |= {"target_rate": 0.3}


def episodes(rank: int, count: int, mode: list[str]) -> RolloutBatch:
    """Return the episodes of a process, in groups of two. One process has all eight, two processes have six and two.

    In the mode "unlabelled", the last two episodes have no command to imitate.
    """
    every = random_rollout(free=mode == ["free"]).segments
    if mode == ["unlabelled"]:
        bare = [replace(s, choices=tuple(replace(choice, label=None) for choice in s.choices)) for s in every[6:]]
        every = (*every[:6], *bare)
    own = every if count == 1 else (every[:6], every[6:])[rank]
    return RolloutBatch(own, credit="token", group_size=2)


def train(model: ActorCritic, case: str, rollout: RolloutBatch, mode_of_trunk: str) -> dict[str, float]:
    """Take ten gradient steps in five updates, and return the metrics of the last one.

    The trunk is replicated ("replicas"), sharded ("sharded"), or sharded and gathered by layer outside gradient steps
    ("layers").
    """
    _, weights, optimizer, *mode = case.split("-")
    reference = copy.deepcopy(model).requires_grad_(False) if weights == "full" else None
    if mode == ["checkpointing"]:
        model.enable_gradient_checkpointing()
    if mode_of_trunk != "replicas":
        by_layer = mode_of_trunk == "layers"
        for each in filter(None, (model, reference)):
            can_pack(each)
            shard(each, FullyShardedDataParallelPlugin(fsdp_version=2), torch.device("cpu"), by_layer=by_layer)
    learning = OptimizerConfig(gamma=0.9, whitening="batch", kl_coef=0.1, entropy_coef=0.01)
    sgd = make_torch_optimizer(model, UpdateConfig(torch_optimizer="sgd", lr=0.02, weight_decay=0.1))
    update = updater(model, optimizer, torch_optimizer=sgd, reference=reference, learning=learning, **SETTINGS)
    gather_trunk(*update.models)
    return [learn(update, rollout, seed=seed) for seed in range(5)][-1]


def work(rank: int, count: int, out: Path, cases: tuple[str, ...]) -> None:
    models: dict[str, Any] = {}
    for case in cases:
        kind, weights, _, *mode = case.split("-")
        dtype: Any = "bfloat16" if mode == ["bfloat16"] else "float32"
        if (name := f"{kind}-{weights}-{dtype}") not in models:
            torch.manual_seed(0)
            lora, upper = 0 if weights == "full" else 2, 1 if weights == "upper" else None
            config = ModelConfig(
                trunk=str(out / kind), lora=lora, lora_layers=upper, dtype=dtype, q_heads=2, target_q=True
            )
            models[name], _ = assemble(config, None)
            for parameter in models[name].heads.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        rollout = episodes(rank, count, mode)
        for how in MODES if count > 1 else MODES[:1]:
            model = copy.deepcopy(models[name]).train()
            metrics = train(model, case, rollout, how)
            tensors = {name: whole(tensor.detach()).clone() for name, tensor in trained_tensors(model).items()}
            stem = f"{case}-{how}-{rank}-of-{count}"
            save_file(tensors, out / f"{stem}.safetensors")
            (out / f"{stem}.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), {"quick": QUICK, "all": CASES}[sys.argv[4]])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
