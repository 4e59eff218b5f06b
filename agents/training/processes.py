"""Communication between the processes of a run.

All functions except `connected` wait for all processes. Each process must therefore call them at the same point.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed import DistNetworkError, DistStoreError

from actde.errors import OptimizerError
from agents.model.actor_critic import ActorCritic
from agents.model.sharding import in_step
from agents.protocol import AgentError, LostProcessError
from games.errors import GameError
from games.files import atomic_folder

T = TypeVar("T")
OURS = ("actde", "agents", "games", "builtins")
"""Packages whose classes all processes can import."""
BUCKET_BYTES = 25 * 2**20
"""Size of the messages of `sum_gradients`, the default of torch's DistributedDataParallel."""


@contextmanager
def connected() -> Iterator[None]:
    """Raise `LostProcessError` if the block cannot communicate with another process."""
    try:
        yield
    except RuntimeError as error:
        # gloo raises plain RuntimeErrors whose messages begin with the path of its source file
        lost = any(text in str(error) for text in ("gloo/transport", "ncclRemoteError"))
        if not lost and not isinstance(error, DistNetworkError | DistStoreError):
            raise
        raise LostProcessError(
            "another process of the run has ended or does not answer; --resume continues from the newest checkpoint, "
            "if there is one"
        ) from error


def gather(value: T) -> list[T]:
    """Return the `value` of each process, ordered by rank."""
    with connected():
        return list(gather_object([value]))


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes. A gradient that is None in one process counts as 0.

    If a gradient is None in all processes, it remains None. The torch optimizer then skips the parameter, as in a run
    of one process. All processes must pass the same parameters. Gradients are sent in few large messages.
    """
    parameters = list(parameters)
    if not parameters:
        return
    holders = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([*(parameter.grad for parameter in parameters if parameter.grad is not None), holders]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        with connected():
            torch.distributed.all_reduce(flat)
        for gradient, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))
    for parameter, count in zip(parameters, holders.tolist(), strict=True):
        if count == 0:
            parameter.grad = None


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors by data type and device into lists of at most `BUCKET_BYTES`. A larger tensor has its own list."""
    buckets: defaultdict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = defaultdict(lambda: [[]])
    for tensor in tensors:
        alike = buckets[tensor.dtype, tensor.device]
        if sum(other.nbytes for other in alike[-1]) + tensor.nbytes > BUCKET_BYTES and alike[-1]:
            alike.append([])
        alike[-1].append(tensor)
    yield from (bucket for alike in buckets.values() for bucket in alike)


def in_all_processes(work: Callable[[], T], *models: ActorCritic) -> T:
    """Return the result of `work`. If `work` raises an error in one process, raise this error in all processes.

    This applies to users' mistakes, OSErrors and Ctrl-C. If several processes raise errors, all raise the error of the
    lowest rank. Any other exception is a bug. Only the process with the bug raises it, and the others raise
    `LostProcessError`. An error in a forward pass that all processes run together is treated like a bug.

    `work` may run forward passes of `models`, even if their trunks are sharded. The number of passes may differ between
    processes (see `in_step`).
    """
    result: T | None = None
    error: BaseException | None = None
    try:
        with connected(), in_step(*models) as pass_failed:
            result = work()
    except (GameError, AgentError, OptimizerError, OSError, KeyboardInterrupt) as raised:
        if pass_failed():
            raise
        error = _portable(raised)
    first = next((other for other in gather(error) if other is not None), None)
    if first is not None:
        raise first
    return result  # type: ignore[return-value]  # no error, so there is a result


def in_main_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """Call `work` in process 0. If it raises an error there, raise this error in all processes."""
    in_all_processes(work if accelerator.is_main_process else lambda: None)


@contextmanager
def shared_folder(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Yield an empty folder that all processes fill. It replaces `folder` if the block succeeds in all processes.

    If the block raises an error, it must do so in all processes, for example with `in_all_processes`. Raise
    `AgentError` if a process does not see the folder of process 0.
    """
    with ExitStack() as stack:
        is_main = accelerator.is_main_process
        own = in_all_processes(lambda: stack.enter_context(atomic_folder(folder)) if is_main else folder)
        work = gather(own)[0]
        in_all_processes(lambda: _check_shared(work))
        yield work
        in_all_processes(stack.close)


def _check_shared(folder: Path) -> None:
    if not folder.is_dir():
        raise AgentError(f"{folder} of process 0 is not visible in all processes: --out must be on shared storage")


def _portable(error: BaseException) -> BaseException:
    """Return an error that can be sent to all processes.

    If the class of `error` is not from the packages `OURS`, use its nearest base class from these packages.
    """
    ours = next(cls for cls in type(error).__mro__ if cls.__module__.split(".")[0] in OURS)
    return error if type(error) is ours else ours(str(error))
