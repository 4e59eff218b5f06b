"""Compare the communication of data parallelism with torch's DistributedDataParallel (DDP).

    python -m benchmarks.communication [--rounds N] [--out FILE]

Two processes on this machine are connected by gloo. Four kinds of forward and backward passes alternate:

    backward  without communication
    ours      followed by our sum of the gradients over both processes
    tensors   followed by one reduction per tensor
    ddp       of DDP, which overlaps its reductions with the backward pass

The loss is the sum of the logits of --rows streams of --length tokens. `messages` is the number of tensors that a
step reduces, and `bytes` is their total size.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from agents.model.build import new_trunk
from agents.training.processes import sum_gradients
from benchmarks.harness import alternate, begin, parser, ratios, report, shown, summary

VOCABULARY = {"small": 2000, "wide": 20_000}
"""Name of a trunk -> size of its vocabulary. `small` has about 0.7 million parameters, and `wide` 3 million."""
REDUCED = "gloo:all_reduce"


def step(model: nn.Module, tokens: torch.Tensor, reduce: Callable[[], None]) -> None:
    """Take a forward and a backward pass, and reduce the gradients."""
    model.zero_grad(set_to_none=True)
    model(input_ids=tokens, use_cache=False).logits.sum().backward()
    reduce()


def each_tensor(model: nn.Module) -> None:
    """Sum the gradients in one reduction per tensor."""
    for parameter in model.parameters():
        torch.distributed.all_reduce(parameter.grad)


def messages(peer: Callable[[], object], kinds: Sequence[str] = (REDUCED,)) -> dict[str, int]:
    """Call `peer` once. Return the number and bytes of the float32 tensors that it sends by operations of `kinds`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        peer()
    sizes = [
        sum(int(torch.tensor(shape).prod()) for shape in event.input_shapes if shape)
        for event in profile.events()
        if event.name in kinds
    ]
    return {"messages": len(sizes), "bytes": 4 * sum(sizes)}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds and the messages of all four kinds of passes, and the speed-ups compared with DDP."""
    begin(options.threads)
    model = new_trunk("small", VOCABULARY[name], 0.0)
    replicated = DistributedDataParallel(model)
    tokens = torch.randint(0, VOCABULARY[name], (options.rows, options.length))
    peers: dict[str, Callable[[], None]] = {
        "backward": lambda: step(model, tokens, lambda: None),
        "ours": lambda: step(model, tokens, lambda: sum_gradients(model.parameters())),
        "tensors": lambda: step(model, tokens, lambda: each_tensor(model)),
        "ddp": lambda: step(replicated, tokens, lambda: None),
    }
    times = alternate(peers, options.rounds, warm=3)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": {peer: summary(seconds) for peer, seconds in times.items()},
        "speedup": ratios(times["ddp"], times["ours"]),
        "speedup_of_tensors": ratios(times["ddp"], times["tensors"]),
        **{peer: messages(one) for peer, one in peers.items()},
    }


def in_two_processes(port: int, work: Callable[..., object], *arguments: object) -> None:
    """Call `work` with the rank and `arguments` in two processes that gloo connects."""
    spawn(_connected, (port, work, *arguments), nprocs=2)  # type: ignore[no-untyped-call]


def _connected(rank: int, port: int, work: Callable[..., object], *arguments: object) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    work(rank, *arguments)
    torch.distributed.destroy_process_group()


def work(rank: int, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Measure as one of two processes. Process 0 writes the results."""
    trunks = {name: measure(name, options) for name in VOCABULARY}
    if rank == 0:
        report("communication", options, arguments, trunks=trunks)
        for name, trunk in trunks.items():
            sent = [f"{peer} {trunk[peer]['bytes']:,} B in {trunk[peer]['messages']}" for peer in ("ours", "ddp")]
            print(f"{name} {', '.join(sent)}; speed-up {shown(trunk['speedup'])}, one message per tensor"
                  f" {shown(trunk['speedup_of_tensors'])}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, rows=(2, "streams per step"), length=(64, "tokens per stream"))
    options.set_defaults(threads=1, rounds=30)
    in_two_processes(29531, work, options.parse_args(arguments), arguments)


if __name__ == "__main__":
    main()
