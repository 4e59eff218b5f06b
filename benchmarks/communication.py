"""Compare the communication of data parallelism with torch's DistributedDataParallel (DDP).

    python -m benchmarks.communication [--rounds N] [--out FILE]

Two processes on this machine are connected by gloo. Four kinds of forward and backward passes alternate:

    backward  without communication
    ours      followed by our sum of the gradients over both processes
    tensors   followed by one reduction per tensor
    ddp       of DDP, which overlaps its reductions with the backward pass

The loss is the sum of the logits of --rows streams of --length tokens. In a step, a process reduces `messages` tensors
with a total size of `bytes`.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from agents.model.build import from_config
from agents.training.processes import sum_gradients
from benchmarks.harness import alternate, begin, document, parser, ratios, shown, summary, write

VOCABULARY = {"small": 2000, "wide": 20_000}
"""Name of a trunk -> size of its vocabulary. `small` has about 0.7 million parameters, and `wide` 3 million."""
PORT, REDUCED = "29531", "gloo:all_reduce"


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
    """Call `peer` once, and count the float32 tensors that this process sends meanwhile.

    Return their number (`messages`) and total size (`bytes`). `kinds` are the profiler's names of the operations that
    count as sending.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        peer()
    sizes = [
        sum(int(torch.tensor(shape).prod()) for shape in event.input_shapes if shape)
        for event in profile.events()
        if event.name in kinds
    ]
    return {"messages": len(sizes), "bytes": 4 * sum(sizes)}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds and the messages of all four kinds of passes, for one trunk.

    `speedup` is the ratio ddp / ours of the seconds. `speedup_of_tensors` is the ratio ddp / tensors.
    """
    begin(options.threads)
    model = from_config("small", VOCABULARY[name], 0.0)
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


def work(rank: int, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Measure as one of two processes. Process 0 writes the results."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    trunks = {name: measure(name, options) for name in VOCABULARY}
    if rank == 0:
        write(options.out, document("communication", options, arguments, trunks=trunks))
        for name, trunk in trunks.items():
            print(name, described(trunk))
    torch.distributed.destroy_process_group()


def described(trunk: Mapping[str, Any]) -> str:
    """Return the results of one trunk as text."""
    sent = ", ".join(f"{peer} {trunk[peer]['bytes']:,} B in {trunk[peer]['messages']}" for peer in ("ours", "ddp"))
    return f"{sent}; speed-up {shown(trunk['speedup'])}, one message per tensor {shown(trunk['speedup_of_tensors'])}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=2, help="streams per step")
    options.add_argument("--length", type=int, default=64, help="tokens per stream")
    options.set_defaults(threads=1, rounds=30)
    spawn(work, (options.parse_args(arguments), arguments), nprocs=2)  # type: ignore[no-untyped-call]
    return 0


if __name__ == "__main__":
    sys.exit(main())
