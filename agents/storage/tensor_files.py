"""Tensor files of checkpoints, in the format of torch's distributed checkpoint.

With a sharded trunk, each process writes its own rows of each tensor.
"""

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
from games.errors import described, naming
from games.files import sha256, sync
from games.untrusted_files import check_regular

# torch's `HuggingFaceStorageReader` ignores missing rows, and its writer needs memory for a copy of the file
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


@dataclass(frozen=True, slots=True)
class StoredShards:
    """A tensor whose rows are in several files. `stored[first:last]` reads a range of rows.

    `parts` holds the path and the open tensor of each file. `shape` is that of the whole tensor.
    """

    name: str
    parts: list[tuple[Path, Any]]
    shape: torch.Size

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self[:0].element_size()

    def __getitem__(self, rows: slice) -> Tensor:
        first, last, _ = rows.indices(self.shape[0])
        read, begin = [], 0
        for path, part in self.parts:
            count = part.get_shape()[0]
            start, stop = (min(max(row - begin, 0), count) for row in (first, last))
            with tensor_errors(path):
                read.append(part[start:stop])  # most files have none of the rows
                check_finite({self.name: read[-1]})
            begin += count
        return torch.cat(read)


StoredTensor: TypeAlias = Tensor | StoredShards


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file."""
    path.touch()
    mode = path.stat().st_mode
    with naming(path):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(mode)  # `save_file` replaces the file by one that only its owner can read


def divided(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, DTensor]]:
    """Return the whole tensors and the sharded tensors, each sorted by name."""
    sharded = {name: tensor for name, tensor in sorted(tensors.items()) if isinstance(tensor, DTensor)}
    return {name: tensor for name, tensor in sorted(tensors.items()) if name not in sharded}, sharded


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file with this process's rows of sharded tensors.

    `file` is the name without sharding, such as "model.safetensors". `dtype` is that of the stored rows.
    """

    file: str
    tensors: Mapping[str, DTensor]
    dtype: torch.dtype | None = None

    @property
    def name(self) -> str:
        run = PartialState()
        return f"{Path(self.file).stem}-shard-{run.process_index + 1:05d}-of-{run.num_processes:05d}.safetensors"

    def check(self) -> None:
        """Raise `DivergenceError` if a number is not finite."""
        for name, rows in self._rows():
            check_finite({name: rows})

    def write(self, folder: Path) -> str:
        """Write the file and return its SHA-256."""
        header: dict[str, Any] = {}
        offsets, end = {}, 0
        for name, tensor in self.tensors.items():
            chunk, dtype = part_of(tensor), self.dtype or tensor.dtype
            begin, end = end, end + chunk.sizes.numel() * dtype.itemsize
            header[name] = {"dtype": DTYPES[dtype], "shape": list(chunk.sizes), "data_offsets": [begin, end]}
            offsets[name] = {"saved_offsets": list(chunk.offsets)}
        about = {"DCP_SHARDING_INFO": json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"}
        text = json.dumps({"__metadata__": about, **header}).encode()
        text += b" " * (-len(text) % 8)
        path = folder / self.name
        with naming(path):
            with path.open("xb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                for _, rows in self._rows():
                    file.write(rows.cpu().flatten().view(torch.uint8).numpy().data)
            sync(path)
        return sha256(path)

    def _rows(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.tensors.items():
            yield name, local(tensor.detach()).to(self.dtype or tensor.dtype)


def read_shards(folder: Path, file: str, files: Iterable[str]) -> dict[str, StoredTensor]:
    """Open the sharded tensors of a checkpoint. `file` is the name without sharding."""
    pattern = re.compile(rf"{Path(file).stem}-shard-\d{{5}}-of-\d{{5}}\.safetensors")
    parts: dict[str, list[tuple[Path, Any]]] = {}
    for path in (folder / name for name in sorted(files) if pattern.fullmatch(name)):
        check_regular(path, AgentError)
        with tensor_errors(path):
            opened: Any = safe_open(path, framework="pt")
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                parts.setdefault(name, []).append((path, opened.get_slice(name)))
    return {name: _joined(name, each) for name, each in parts.items()}


def _joined(name: str, parts: list[tuple[Path, Any]]) -> StoredShards:
    shapes, kinds = [part.get_shape() for _, part in parts], {part.get_dtype() for _, part in parts}
    if not all(shapes) or len(kinds) > 1 or len({tuple(shape[1:]) for shape in shapes}) > 1:
        paths = f"{parts[0][0]} to {parts[-1][0].name}"
        raise AgentError(f"{paths} are damaged: their rows of {name} do not fit together; use another copy")
    rows = sum(shape[0] for shape in shapes)
    return StoredShards(name, parts, torch.Size([rows, *shapes[0][1:]]))


def part_for(stored: StoredTensor, parameter: Tensor) -> Tensor:
    """Return this process's rows of a stored tensor. A scalar or an unsharded tensor is returned whole."""
    if not isinstance(parameter, DTensor) or not stored.shape:
        return stored if isinstance(stored, Tensor) else stored[:]
    place = part_of(parameter)
    rows = stored[place.offsets[0] : place.offsets[0] + place.sizes[0]].clone()  # a view would keep the whole tensor
    mesh, placements = parameter.device_mesh, parameter.placements
    shards = DTensor.from_local(
        rows, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
    )
    return shards.to(parameter.device)  # `from_local` moves the rows to the mesh's device, also if they are offloaded


def part_of(tensor: DTensor) -> ChunkStorageMetadata:
    """Return the `offsets` and `sizes` of this process's part of a tensor."""
    part: ChunkStorageMetadata
    (part,) = tensor.__create_chunk_list__()  # type: ignore[no-untyped-call]
    return part


@contextmanager
def tensor_errors(path: Path) -> Iterator[None]:
    """Convert exceptions from reading a safetensors file to `AgentError`."""
    try:
        yield
    except DivergenceError as error:
        raise AgentError(f"{path} cannot be used: {error}; use an earlier checkpoint") from None
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError) as error:
        raise AgentError(f"{path} is not a complete safetensors file: {described(error)}") from None
