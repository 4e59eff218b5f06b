"""Communication between the processes of a run.

All processes must call these functions at the same point, except for `connected`.
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
    """Replace each gradient by its sum over all processes.

    A gradient that is None in all processes stays None.
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
    """Group tensors by data type and device into lists of at most `BUCKET_BYTES`."""
    buckets: defaultdict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = defaultdict(lambda: [[]])
    for tensor in tensors:
        alike = buckets[tensor.dtype, tensor.device]
        if sum(other.nbytes for other in alike[-1]) + tensor.nbytes > BUCKET_BYTES and alike[-1]:
            alike.append([])
        alike[-1].append(tensor)
    yield from (bucket for alike in buckets.values() for bucket in alike)


def in_all_processes(work: Callable[[], T], *models: ActorCritic) -> T:
    """Return the result of `work`. If it fails in one process, raise its error in all processes.

    After an unexpected error, the other processes raise `LostProcessError`. In `work`, each process may run any number
    of passes of `models`.
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
    """Call `work` in process 0. If it fails, raise its error in all processes."""
    in_all_processes(work if accelerator.is_main_process else lambda: None)


@contextmanager
def shared_folder(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Yield an empty folder that all processes fill. It replaces `folder` after the block.

    The block must succeed or fail in all processes together.
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
    """Convert an error to the nearest base class that all processes can import."""
    ours = next(cls for cls in type(error).__mro__ if cls.__module__.split(".")[0] in OURS)
    return error if type(error) is ours else ours(str(error))
