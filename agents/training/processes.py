"""Communication between the processes of a run.

All processes must call each function together, except `connected`.
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
from agents.model.sharding import uneven_passes
from agents.protocol import AgentError, LostProcessError
from games.errors import GameError
from games.files import atomic_folder

T = TypeVar("T")
IMPORTABLE = ("actde", "agents", "games", "builtins")
"""Packages that all processes can import."""
BUCKET_BYTES = 25 * 2**20
"""Size of a message of `sum_gradients`, as in torch's DistributedDataParallel."""


@contextmanager
def connected() -> Iterator[None]:
    """Convert communication errors of the `with` block to `LostProcessError`."""
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
    """Replace each gradient by the sum over all processes. A gradient that is None in all processes stays None."""
    parameters = list(parameters)
    if not parameters:
        return
    counts = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([*(parameter.grad for parameter in parameters if parameter.grad is not None), counts]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        with connected():
            torch.distributed.all_reduce(flat)
        for gradient, summed in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
            gradient.copy_(summed.view_as(gradient))
    for parameter, count in zip(parameters, counts.tolist(), strict=True):
        if count == 0:
            parameter.grad = None


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors by data type and device into lists of at most `BUCKET_BYTES`."""
    buckets: defaultdict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = defaultdict(lambda: [[]])
    for tensor in tensors:
        lists = buckets[tensor.dtype, tensor.device]
        if sum(other.nbytes for other in lists[-1]) + tensor.nbytes > BUCKET_BYTES and lists[-1]:
            lists.append([])
        lists[-1].append(tensor)
    yield from (bucket for lists in buckets.values() for bucket in lists)


def in_all_processes(function: Callable[[], T], *models: ActorCritic) -> T:
    """Return `function()`. If one process fails, raise the error in all processes."""
    # after an unexpected error here, the other processes raise LostProcessError
    result: T | None = None
    error: BaseException | None = None
    try:
        with connected(), uneven_passes(*models) as pass_failed:
            result = function()
    except (GameError, AgentError, OptimizerError, OSError, KeyboardInterrupt) as raised:
        if pass_failed():
            raise
        error = _portable_error(raised)
    first_error = next((other for other in gather(error) if other is not None), None)
    if first_error is not None:
        raise first_error
    return result  # type: ignore[return-value]  # no error, so there is a result


def in_main_process(accelerator: Accelerator, function: Callable[[], None]) -> None:
    """Call `function` in process 0. Raise any error in all processes."""
    in_all_processes(function if accelerator.is_main_process else lambda: None)


@contextmanager
def shared_folder(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Yield an empty shared folder, which replaces `folder` if the `with` block succeeds."""
    with ExitStack() as stack:
        is_main = accelerator.is_main_process
        own_folder = in_all_processes(lambda: stack.enter_context(atomic_folder(folder)) if is_main else folder)
        temporary_folder = gather(own_folder)[0]
        in_all_processes(lambda: _check_shared(temporary_folder))
        yield temporary_folder  # the block must succeed or fail in all processes together
        in_all_processes(stack.close)


def _check_shared(folder: Path) -> None:
    if not folder.is_dir():
        raise AgentError(f"{folder} of process 0 is not visible in all processes: --out must be on shared storage")


def _portable_error(error: BaseException) -> BaseException:
    """Convert `error` to the nearest class that all processes can import."""
    importable_class = next(cls for cls in type(error).__mro__ if cls.__module__.split(".")[0] in IMPORTABLE)
    return error if type(error) is importable_class else importable_class(str(error))
