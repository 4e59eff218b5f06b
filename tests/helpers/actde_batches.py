"""Random batches, and changes that must not affect results: padding, order, micro-batches, processes."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from actde import Batch, Optimizer, OptimizerConfig, Outputs, Targets, make_optimizer

Record = TypeVar("Record")
Result = TypeVar("Result")
LENGTHS = [3, 1, 4, 2]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"whitening": "batch", "advantage": "return", "entropy_coef": 0.01},
    {"value_loss": "ilql", "kl_coef": 0.1},
    {"value_clip_range": None, "kl_coef": 0.1, "kl_place": "reward", "kl_target": 0.5},
]


def made(name: str, **values: Any) -> Optimizer:
    """Return an optimizer that trains q, with these settings."""
    if name == "actde-corrected":
        values.pop("whitening", None)  # it refuses whitening
    return make_optimizer(name, OptimizerConfig(train_q=True, **values))


def gradients(optimizer: Optimizer, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, Tensor]:
    """Gradients of the loss by output."""
    loss, _ = optimizer.loss(batch, targets, outputs)
    tensors = {spec.name: getattr(outputs, spec.name) for spec in fields(outputs)}
    leaves = {name: tensor for name, tensor in tensors.items() if tensor is not None and tensor.requires_grad}
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {name: grad for name, grad in zip(leaves, found, strict=True) if grad is not None}


def table(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_batch(seed: int, lengths: Sequence[int], *, q: bool = True, ref: bool = True) -> Batch:
    """Return segments of these lengths. About half of them end in a terminal state. The others are bootstrapped."""
    rng = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))

    def normal() -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    ends = torch.tensor(lengths)
    mask = torch.arange(shape[1]) < ends[:, None]
    discounts = torch.where(torch.rand(shape, generator=rng) < 0.5, 1.0, 0.9).double()
    last = torch.arange(shape[1]) == ends[:, None] - 1
    over = last & (torch.rand(shape[0], generator=rng) < 0.5)[:, None]
    values = normal()
    next_values = torch.cat([values[:, 1:], torch.zeros(shape[0], 1)], dim=1)
    return Batch(
        rewards=torch.where(mask, normal(), 0.0),
        discounts=torch.where(mask & ~over, discounts, 0.0),
        mask=mask,
        logprobs=-normal().abs() - 0.1,
        values=values,
        next_values=torch.where(last, normal(), next_values),
        q_values=normal() if q else None,
        ref_logprobs=-normal().abs() - 0.1 if ref else None,
        episodes=torch.arange(shape[0]),
        groups=torch.arange(shape[0]) // 2,
    )


def random_outputs(batch: Batch, seed: int = 0, *, heads: int = 2, near: bool = False) -> Outputs:
    """Return random outputs for the batch, with gradients enabled. With `near`, the policy equals the old policy."""
    rng = torch.Generator().manual_seed(seed)
    shape = (*batch.mask.shape, heads)

    def normal() -> Tensor:
        return torch.randn(shape[:2], generator=rng, dtype=torch.float64)

    logprobs = batch.logprobs.clone() if near else batch.logprobs + 0.3 * normal()
    return Outputs(
        logprobs=logprobs.requires_grad_(),
        entropy=normal().abs().requires_grad_(),
        values=(batch.values + normal()).requires_grad_(),
        q_values=torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_(),
        target_q_values=normal(),
        kl=normal().abs().requires_grad_(),
        label_logprobs=(-normal().abs()).requires_grad_(),
        expected_q=normal().requires_grad_(),
        q_logprobs=-torch.randn(shape, generator=rng, dtype=torch.float64).abs().requires_grad_(),
    )


def changed(record: Record, change: Callable[[str, Tensor], Tensor]) -> Record:
    """Return the record with `change(name, tensor)` in place of every tensor."""
    found: dict[str, Any] = {}
    for spec in fields(record):  # type: ignore[arg-type]
        tensor = getattr(record, spec.name)
        if tensor is not None:
            found[spec.name] = change(spec.name, tensor)
    return type(record)(**found)


def padded(record: Record, extra: int, garbage: float) -> Record:
    """Return the record with `extra` columns of padding, filled with `garbage`."""

    def widen(name: str, tensor: Tensor) -> Tensor:
        if tensor.ndim == 1:
            return tensor
        fill = {"mask": 0, "discounts": 1}.get(name, garbage)
        shape = (tensor.shape[0], extra, *tensor.shape[2:])
        return torch.cat([tensor, torch.full(shape, fill, dtype=tensor.dtype)], dim=1)

    return changed(record, widen)


def chosen(record: Record, rows: Tensor) -> Record:
    """Return the segments `rows` of a record."""
    return changed(record, lambda _, tensor: tensor[rows])


def in_processes(count: int, work: Callable[[int, Callable[[Tensor], Tensor]], Result]) -> list[Result]:
    """Run `work(rank, all_reduce)` in `count` threads that stand for processes. Return the results by rank."""
    barrier = threading.Barrier(count, timeout=20)
    shared: dict[int, Tensor] = {}
    results: dict[int, Result] = {}

    def run(rank: int) -> None:
        def all_reduce(tensor: Tensor) -> Tensor:
            shared[rank] = tensor
            barrier.wait()
            total = torch.stack([shared[other] for other in range(count)]).sum(dim=0)
            barrier.wait()
            return total

        results[rank] = work(rank, all_reduce)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(count)]
