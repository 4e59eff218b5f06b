"""Compare three ways to run forward passes of a model in two processes: whole, by layer, and split by tensors.

    python -m benchmarks.sharded_play [--rounds N] [--out FILE]

Two processes on this machine are connected by gloo. Each peer computes the hidden states of --rows streams per process,
for one more token (`decode`) and for --length tokens (`read`), without a cache:

    whole    each process holds the whole trunk, and runs its own streams
    layers   each process stores half of the trunk, gathers one layer after the other, and runs its own streams
             (`train --sharded-play layers`)
    tensors  tensor parallelism by the plan of transformers: each process stores half of the trunk, and computes its
             half of every layer for all streams

`received` is the number of bytes that a process receives in a pass, if each process sends every part once to the other:
half of each gathered tensor, and all of each summed tensor. The process sends as much (`benchmarks.communication`).
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.distributed import DistributedConfig

from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.model.sharding import gather_trunk, shard, sharding_plugin, uneven_passes
from benchmarks.communication import REDUCED, in_two_processes, messages
from benchmarks.harness import alternate, begin, parser, ratios, report, shown, summary

# 98 million parameters, of which the layers have 85 million
LLAMA = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
         "vocab_size": 8192}  # fmt: skip
KINDS = (REDUCED, "gloo:all_gather", "gloo:_all_gather_base")


def actor_critic(folder: Path) -> ActorCritic:
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return ActorCritic(lm, Heads(LLAMA["hidden_size"], LLAMA["vocab_size"], q_heads=0, tied=True)).eval()


def stored(model: torch.nn.Module) -> int:
    """Return the size of the parameters that this process stores, in bytes."""
    return sum((p.to_local() if isinstance(p, DTensor) else p).nbytes for p in model.parameters())


def by_layer(model: ActorCritic, tokens: Tensor) -> Tensor:
    """Compute the hidden states of this process's own streams. The trunk's layers are gathered one after the other."""
    with uneven_passes(model):
        return model.hidden_states(tokens, use_cache=False)


def by_tensors(model: Any, tokens: Tensor) -> Tensor:
    """Compute the hidden states of the streams of both processes, with tensor parallelism."""
    states: Tensor = model.model(tokens, use_cache=False).last_hidden_state
    return states


@torch.no_grad()
def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the stored bytes of the three peers and, for `decode` and `read`, their seconds and received bytes."""
    begin(options.threads)
    whole, layers = actor_critic(folder), actor_critic(folder)
    shard(layers, sharding_plugin(), torch.device("cpu"), by_layer=True)
    size = {"whole": stored(whole), "layers": stored(layers)}
    gather_trunk(layers)
    plan = DistributedConfig(tp_plan="auto")
    tensors = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, distributed_config=plan).eval()
    size["tensors"] = stored(tensors)
    rank, results = torch.distributed.get_rank(), dict[str, Any]()
    for case, length in (("decode", 1), ("read", options.length)):
        both = torch.arange(2 * options.rows * length).reshape(2 * options.rows, length) % LLAMA["vocab_size"]
        own = both[rank * options.rows :][: options.rows]

        peers: dict[str, Callable[[], Tensor]] = {
            "whole": partial(whole.hidden_states, own, use_cache=False),
            "layers": partial(by_layer, layers, own),
            "tensors": partial(by_tensors, tensors, both),
        }
        wanted = peers["whole"]()
        for name, found in (("layers", peers["layers"]()), ("tensors", peers["tensors"]()[rank * options.rows :])):
            torch.testing.assert_close(found[: options.rows], wanted, rtol=1e-4, atol=1e-4, msg=name)
        times = alternate(peers, options.rounds)
        results[case] = {
            "seconds": {peer: summary(seconds) for peer, seconds in times.items()},
            "slowdown": {peer: ratios(times[peer], times["whole"]) for peer in ("layers", "tensors")},
            "received": {peer: messages(one, KINDS)["bytes"] for peer, one in peers.items()},
        }
    return {"stored": size, "cases": results}


def work(rank: int, folder: Path, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Measure as one of two processes. Process 0 writes the results."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    found = measure(folder, options)
    if rank != 0:
        return
    report("sharded_play", options, arguments, **found)
    for case, row in found["cases"].items():
        for peer, seconds in row["seconds"].items():
            slower = f"  {shown(row['slowdown'][peer])} times as long as whole" if peer in row["slowdown"] else ""
            print(f"{case:7} {peer:8} {1000 * seconds['median']:8.1f} ms {row['received'][peer] / 1e6:8.2f} MB received"
                  f" {found['stored'][peer] / 1e6:6.0f} MB stored{slower}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, rows=(16, "streams per process"), length=(64, "tokens of a stream that is read"))
    options.set_defaults(threads=1, rounds=5)
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(folder)
        in_two_processes(29541, work, Path(folder), given, arguments)


if __name__ == "__main__":
    main()
