"""Tensor files of checkpoints. Each process stores its own rows of sharded tensors."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata
from torch.distributed.tensor import DTensor

from agents.model.finite_check import check_finite
from agents.model.sharding import local
from agents.protocol import AgentError, DivergenceError
from games.errors import add_path_to_errors, described
from games.files import sha256, sync
from games.untrusted_files import check_regular

# torch's `HuggingFaceStorageReader` ignores missing rows, and its writer needs memory for a copy of the file
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


@dataclass(frozen=True, slots=True)
class StoredShards:
    """A tensor whose rows are in several files. `stored[2:5]` reads only rows 2 to 4."""

    name: str
    parts: list[tuple[Path, Any]]  # (file, open tensor)
    shape: torch.Size  # of the whole tensor

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self[:0].element_size()

    def __getitem__(self, rows: slice) -> Tensor:
        first, last, _ = rows.indices(self.shape[0])
        chunks, file_start = [], 0
        for path, tensor in self.parts:
            row_count = tensor.get_shape()[0]
            start, stop = (min(max(row - file_start, 0), row_count) for row in (first, last))
            with tensor_errors(path):
                chunks.append(tensor[start:stop])  # most files have none of the rows
                check_finite({self.name: chunks[-1]})
            file_start += row_count
        return torch.cat(chunks)


StoredTensor: TypeAlias = Tensor | StoredShards


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file."""
    path.touch()
    mode = path.stat().st_mode
    with add_path_to_errors(path):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(mode)  # `save_file` replaces the file by one that only its owner can read


def split_sharded(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, DTensor]]:
    """Return two dicts sorted by name: the unsharded and the sharded tensors."""
    sharded = {name: tensor for name, tensor in sorted(tensors.items()) if isinstance(tensor, DTensor)}
    return {name: tensor for name, tensor in sorted(tensors.items()) if name not in sharded}, sharded


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file with one process's rows of sharded tensors.

    `unsharded_name` is the corresponding file of a run without sharding, such as "model.safetensors".
    """

    unsharded_name: str
    tensors: Mapping[str, DTensor]
    dtype: torch.dtype | None = None

    @property
    def name(self) -> str:
        state = PartialState()
        stem, number, count = Path(self.unsharded_name).stem, state.process_index + 1, state.num_processes
        return f"{stem}-shard-{number:05d}-of-{count:05d}.safetensors"

    def check(self) -> None:
        """Raise `DivergenceError` if a number is not finite."""
        for name, rows in self._rows():
            check_finite({name: rows})

    def write(self, folder: Path) -> str:
        """Write the file into `folder`. Return the file's SHA-256."""
        header: dict[str, Any] = {}
        offsets, end = {}, 0
        for name, tensor in self.tensors.items():
            chunk, dtype = local_chunk(tensor), self.dtype or tensor.dtype
            begin, end = end, end + chunk.sizes.numel() * dtype.itemsize
            header[name] = {"dtype": DTYPES[dtype], "shape": list(chunk.sizes), "data_offsets": [begin, end]}
            offsets[name] = {"saved_offsets": list(chunk.offsets)}
        metadata = {"DCP_SHARDING_INFO": json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"}
        encoded_header = json.dumps({"__metadata__": metadata, **header}).encode()
        encoded_header += b" " * (-len(encoded_header) % 8)
        path = folder / self.name
        with add_path_to_errors(path):
            with path.open("xb") as file:
                file.write(len(encoded_header).to_bytes(8, "little") + encoded_header)
                for _, rows in self._rows():
                    file.write(rows.cpu().flatten().view(torch.uint8).numpy().data)
            sync(path)
        return sha256(path)

    def _rows(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.tensors.items():
            yield name, local(tensor.detach()).to(self.dtype or tensor.dtype)


def read_shards(folder: Path, unsharded_name: str, file_names: Iterable[str]) -> dict[str, StoredTensor]:
    """Open the shard files of a checkpoint. Return a dict: name -> tensor."""
    pattern = re.compile(rf"{Path(unsharded_name).stem}-shard-\d{{5}}-of-\d{{5}}\.safetensors")
    parts: dict[str, list[tuple[Path, Any]]] = {}
    for path in (folder / name for name in sorted(file_names) if pattern.fullmatch(name)):
        check_regular(path, AgentError)
        with tensor_errors(path):
            shard_file: Any = safe_open(path, framework="pt")
            for name in shard_file.keys():  # noqa: SIM118  # it is no dict
                parts.setdefault(name, []).append((path, shard_file.get_slice(name)))
    return {name: _join_shards(name, each) for name, each in parts.items()}


def _join_shards(name: str, parts: list[tuple[Path, Any]]) -> StoredShards:
    shapes, dtypes = [tensor.get_shape() for _, tensor in parts], {tensor.get_dtype() for _, tensor in parts}
    if not all(shapes) or len(dtypes) > 1 or len({tuple(shape[1:]) for shape in shapes}) > 1:
        paths = f"{parts[0][0]} to {parts[-1][0].name}"
        raise AgentError(f"{paths} are damaged: their rows of {name} do not fit together; use another copy")
    rows = sum(shape[0] for shape in shapes)
    return StoredShards(name, parts, torch.Size([rows, *shapes[0][1:]]))


def local_rows(stored: StoredTensor, parameter: Tensor) -> Tensor:
    """Return this process's rows of a stored tensor, or all rows if `parameter` is not sharded."""
    if not isinstance(parameter, DTensor) or not stored.shape:
        return stored if isinstance(stored, Tensor) else stored[:]
    chunk = local_chunk(parameter)
    rows = stored[chunk.offsets[0] : chunk.offsets[0] + chunk.sizes[0]].clone()  # a view would keep the whole tensor
    mesh, placements = parameter.device_mesh, parameter.placements
    shards = DTensor.from_local(
        rows, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
    )
    return shards.to(parameter.device)  # `from_local` moves the rows to the mesh's device, also if they are offloaded


def local_chunk(tensor: DTensor) -> ChunkStorageMetadata:
    """Return the offsets and sizes of this process's part of a tensor."""
    chunk: ChunkStorageMetadata
    (chunk,) = tensor.__create_chunk_list__()  # type: ignore[no-untyped-call]
    return chunk


@contextmanager
def tensor_errors(path: Path) -> Iterator[None]:
    """Within the context, convert exceptions to an AgentError about `path`."""
    try:
        yield
    except DivergenceError as error:
        raise AgentError(f"{path} cannot be used: {error}; use an earlier checkpoint") from None
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError) as error:
        raise AgentError(f"{path} is not a complete safetensors file: {described(error)}") from None
