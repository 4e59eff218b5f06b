"""Two processes with parts of a rollout take the same steps as one process with all of it."""

import copy
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.distributed import DistBackendError, DistNetworkError

from actde import OptimizerError
from agents.protocol import AgentError, LostProcessError
from agents.training import processes
from games import FatalGameError
from tests.helpers.models import assert_close
from tests.helpers.one_of_two import work
from tests.helpers.processes import finish, start_two


def test_storage_that_a_process_does_not_see_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "atomic_folder", lambda folder: nullcontext(folder / "elsewhere"))
    with (
        pytest.raises(AgentError, match=r"elsewhere of process 0 is not visible .*: --out must be on shared storage"),
        processes.shared_folder(tmp_path, Accelerator(cpu=True)),
    ):
        raise AssertionError("the block is entered")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    workers = start_two(["-m", "tests.helpers.one_of_two", "{rank}", "2", str(folder)])
    work(0, 1, folder)
    finish(workers)
    return folder


def measures(out: Path, rank: int, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / f"{rank}-of-{count}.json").read_text())
    return found


def test_two_processes_take_the_step_of_one(out: Path) -> None:
    single, *shared = (load_file(out / f"1-{name}.safetensors") for name in ("0-of-1", "0-of-2", "1-of-2"))
    for tensors in shared:
        for name, tensor in single.items():
            assert_close(tensors[name], tensor, within=1e-5)


def test_all_processes_stay_equal_with_different_numbers_of_segments(out: Path) -> None:
    before = load_file(out / "1-0-of-2.safetensors")
    for update in (2, 3):
        ours, theirs = (load_file(out / f"{update}-{rank}-of-2.safetensors") for rank in range(2))
        for name, tensor in ours.items():
            assert_close(theirs[name], tensor, within=1e-6)
        assert any(not tensor.equal(before[name]) for name, tensor in ours.items())


def test_measures_are_those_of_all_processes(out: Path) -> None:
    first, second = (measures(out, rank, 2) for rank in range(2))
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    alone = measures(out, 0, 1)[0] | {"prefix_sharing": first[0]["prefix_sharing"]}  # depends on who has the episodes
    assert first[0] == pytest.approx(alone, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_raise_the_same_error(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [AgentError("of process 0"), FatalGameError("of process 1")]

    def fail() -> None:
        raise errors[rank]

    monkeypatch.setattr(processes, "gather_object", lambda own: [*errors[:rank], *own, *errors[rank + 1 :]])
    with pytest.raises(AgentError, match="of process 0"):
        processes.in_all_processes(fail)


def test_an_error_of_a_users_class_reaches_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    class MissingDeviceError(OptimizerError):
        def __init__(self, device: str, number: int) -> None:
            super().__init__(f"{device} {number} is missing")

    def fail() -> None:
        raise MissingDeviceError("device", 3)

    monkeypatch.setattr(processes, "gather_object", lambda own: [*map(copy.copy, own)])
    with pytest.raises(OptimizerError, match="device 3 is missing"):
        processes.in_all_processes(fail)


def test_ctrl_c_in_one_process_interrupts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "gather_object", lambda own: [*own, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        processes.in_all_processes(lambda: None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[/src/gloo/transport/tcp/pair.cc:537] Connection reset by peer"), LostProcessError),
        (DistNetworkError("the client socket has timed out"), LostProcessError),
        (DistBackendError("NCCL error in: /src/NCCLUtils.cpp:94\nncclRemoteError: A call failed"), LostProcessError),
        (DistBackendError("NCCL error in: /src/NCCLUtils.cpp:94\nncclInvalidUsage"), DistBackendError),
        (RuntimeError("[enforce fail at /src/gloo/allreduce.cc:1] sizes differ"), RuntimeError),
    ],
)
def test_a_lost_connection_is_told_apart_from_a_bug(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(own: object) -> None:
        raise error

    monkeypatch.setattr(processes, "gather_object", fail)
    with pytest.raises(Exception) as raised:  # noqa: PT011  the class is compared below
        processes.gather(True)
    assert type(raised.value) is expected
