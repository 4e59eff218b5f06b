"""Communication between the processes of a run.

Except `connected`, these functions wait for all processes: each process must call them at the same point.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """Return a list of the values that the processes have passed, in the order of their ranks."""
    with connected():
        return list(gather_object([value]))


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes. A gradient that a process lacks counts as 0.

    A gradient that no process has remains None, so that the torch optimizer skips the parameter, as in a run of one
    process. All processes must pass the same parameters. Gradients are copied into buckets, so that few large messages
    are sent.
    """
    parameters = list(parameters)
    if not parameters:
        return
    holders = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([*(parameter.grad for parameter in parameters if parameter.grad is not None), holders]):
        _sum_bucket(bucket)
    for parameter, count in zip(parameters, holders.tolist(), strict=True):
        if count == 0:
            parameter.grad = None


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Split tensors into lists of one data type and device. A list exceeds `BUCKET_BYTES` only if it has one tensor."""
    buckets: defaultdict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = defaultdict(lambda: [[]])
    for tensor in tensors:
        alike = buckets[tensor.dtype, tensor.device]
        if sum(other.nbytes for other in alike[-1]) + tensor.nbytes > BUCKET_BYTES and alike[-1]:
            alike.append([])
        alike[-1].append(tensor)
    yield from (bucket for alike in buckets.values() for bucket in alike)


def _sum_bucket(gradients: Sequence[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with connected():
        torch.distributed.all_reduce(flat)
    summed = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, summed, strict=True):
        gradient.copy_(part.view_as(gradient))


def any_process(value: bool) -> bool:
    """Return whether the value is true in any process."""
    return any(gather(value))


def in_all_processes(work: Callable[[], T], *models: ActorCritic) -> T:
    """Return the result of `work`. If `work` raises an error in one process, raise this error in all processes.

    This applies to users' mistakes, to OSErrors, such as that of a full disk, and to Ctrl-C. If several processes raise
    errors, all raise the error of the lowest rank. Any other exception is a bug. Only the process with the bug raises
    it, and the others raise `LostProcessError`. The same applies to any error in a forward pass that all processes run
    together.

    `work` may run forward passes of `models`, also if their trunks are sharded. The number of passes may differ between
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

    In the block, errors must be raised in all processes, for example by `in_all_processes`.

    Raises:
        AgentError: a process does not see the folder of process 0.
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

    If user code defines the class of `error`, this is an error of the nearest base class from the packages `OURS`.
    """
    ours = next(cls for cls in type(error).__mro__ if cls.__module__.split(".")[0] in OURS)
    return error if type(error) is ours else ours(str(error))
