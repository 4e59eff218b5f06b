"""Measures the memory of real or fake tensors."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that torch operations return.

    `live` is the current number of bytes. `peak` is the maximum of `live` since the last `reset_peak`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._storage_keys = set[int]()

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that exist already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if (key := storage._cdata) not in self._storage_keys:
                self._storage_keys.add(key)
                self.live += (size := storage.nbytes())
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._free, key, size)

    def reset_peak(self) -> None:
        self.peak = self.live

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # in a real run, autograd works in place; it copies only because a dispatch mode is active
        if function is torch.ops.aten.index_put.default and torch._C._current_graph_task_id() >= 0:
            function = torch.ops.aten.index_put_.default
        result = function(*args, **(kwargs or {}))  # temporary memory within the operation is not counted
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _free(self, key: int, size: int) -> None:
        self._storage_keys.remove(key)
        self.live -= size
