"""The number of PyTorch's threads: by the user, or an equal share of the physical cores."""

import os
from collections.abc import Iterator

import psutil
import pytest
import torch

from agents import threads
from tests.conftest import Command


@pytest.fixture(autouse=True)
def same_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(threads.VARIABLE, "1")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("processes", "expected"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_processes_share_the_physical_cores(processes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(threads.VARIABLE)
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8 if logical else 4)
    assert threads.threads_per_process(processes) == expected


def test_a_process_uses_only_its_own_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(threads.VARIABLE)
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 64)
    assert threads.threads_per_process(1) == 2


def test_the_users_number_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert threads.threads_per_process(5) == 3


@pytest.mark.parametrize("name", ["play", "evaluate"])
def test_the_option_sets_the_threads_of_this_process_and_its_children(command: Command, name: str) -> None:
    status, _, errors = command(name, "--agent", "random", "--game", "bandit", "--episodes", "1", "--threads", "2")
    assert status == 0, errors
    assert (torch.get_num_threads(), os.environ[threads.VARIABLE]) == (2, "2")


@pytest.mark.parametrize("name", ["play", "evaluate", "train", "compare", "reproduce", "make-pairs", "train-reward"])
def test_every_command_that_computes_has_the_option(command: Command, name: str) -> None:
    assert "--threads N" in command(name, "--help")[1]


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_leave_the_cores_to_other_processes(
    command: Command, given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    command("--version")
    assert os.environ["OMP_WAIT_POLICY"] == expected
