"""Sharded tensors in the files of several processes. `tests/test_cli_sharding.py` has files of real runs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from agents.protocol import AgentError
from agents.storage.tensor_files import StoredShards, read_shards

WHOLE = {"a": torch.arange(10.0).view(5, 2), "b": torch.arange(3).to(torch.bfloat16), "c": torch.ones(1, 4)}


def split(folder: Path, count: int, **changed: Tensor) -> list[str]:
    """Write the files of `count` processes, each with the rows that FSDP gives it, and return their names.

    `changed` replaces tensors of the last file.
    """
    names = [f"model-shard-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    for rank, name in enumerate(names):
        parts = {key: x.tensor_split([min(len(x), -(-len(x) // count) * r) for r in range(1, count)])[rank]
                 for key, x in WHOLE.items()}  # fmt: skip
        save_file({**parts, **(changed if rank == count - 1 else {})}, folder / name)
    return names


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_rows_are_read_from_the_files_that_have_them(count: int, tmp_path: Path) -> None:
    stored = read_shards(tmp_path, "model.safetensors", [*split(tmp_path, count), "agent.json", "training.safetensors"])
    assert stored.keys() == WHOLE.keys()
    for name, whole in WHOLE.items():
        assert (stored[name].shape, stored[name].nbytes) == (whole.shape, whole.nbytes)
        for first in range(len(whole) + 1):
            for last in range(first, len(whole) + 1):
                assert torch.equal(stored[name][first:last], whole[first:last]), (name, first, last)


def test_other_files_are_not_read(tmp_path: Path) -> None:
    split(tmp_path, 2)
    assert read_shards(tmp_path, "model.safetensors", ["agent.json", "model.safetensors"]) == {}
    assert read_shards(tmp_path, "training.safetensors", ["model-shard-00001-of-00002.safetensors"]) == {}


@pytest.mark.parametrize(
    "changed", [torch.ones(2, 3), torch.tensor(1.0), torch.ones(2, 2, dtype=torch.float16), torch.ones(2)]
)
def test_rows_that_do_not_fit_together_are_refused(changed: Tensor, tmp_path: Path) -> None:
    names = split(tmp_path, 2, a=changed)
    with pytest.raises(
        AgentError, match=r"00001-of-00002\.safetensors to model-shard-00002.* their rows of a do not fit"
    ):
        read_shards(tmp_path, "model.safetensors", names)


def test_a_missing_row_is_seen_in_the_shape(tmp_path: Path) -> None:
    names = split(tmp_path, 3)
    assert read_shards(tmp_path, "model.safetensors", names[:2])["a"].shape == (4, 2)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    stored = read_shards(
        tmp_path, "model.safetensors", split(tmp_path, 2, a=torch.tensor([[1.0, 2.0], [torch.nan, 3]]))
    )
    assert isinstance(stored["a"], StoredShards) and torch.equal(
        stored["a"][:4], torch.cat([WHOLE["a"][:3], torch.tensor([[1.0, 2.0]])])
    )
    with pytest.raises(
        AgentError, match=r"00002-of-00002\.safetensors cannot be used: a is not finite; use an earlier"
    ):
        stored["a"][:]


@pytest.mark.parametrize("damage", [b"", b"no safetensors", bytes(100)])
def test_a_damaged_file_is_one_line(damage: bytes, tmp_path: Path) -> None:
    names = split(tmp_path, 2)
    (tmp_path / names[1]).write_bytes(damage)
    with pytest.raises(AgentError, match=r"00002-of-00002\.safetensors is not a complete safetensors file: ") as error:
        read_shards(tmp_path, "model.safetensors", names)
    assert "\n" not in str(error.value)
