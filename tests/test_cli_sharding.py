"""`train` with a sharded trunk: launched by accelerate, resumed by other numbers of processes, and exported by one."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load

from agents.storage.checkpoint import read_stored
from agents.storage.checkpoint_files import AGENT, BEST, INITIAL, TRAINING, WEIGHTS, checkpoints, verify
from games.files import sha256
from tests import ROOT
from tests.helpers import pages
from tests.helpers.command_line import cli
from tests.helpers.processes import run_two, start_two
from tests.test_cli_processes import metrics

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
IPD = ("--game", "ipd", "--episodes", "3", "--parallel", "3", "--trunk", "pico", "--save-every", "2", "--seed", "3",
       "--eval-game", "ipd", "--eval-every", "2", "--eval-episodes", "3", "--kl-coef", "0.1")  # fmt: skip
SGD = (*IPD, "--torch-optimizer", "sgd", "--lr", "0.05")


def tensors(folder: Path, file: str) -> dict[str, torch.Tensor]:
    stored = read_stored(folder, file, verify(folder))
    return {name: x if isinstance(x, torch.Tensor) else x[:] for name, x in stored.items()}


def assert_same_weights(run: Path, other: Path) -> None:
    found, expected = (tensors(checkpoints(each)[-1], WEIGHTS) for each in (run, other))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert float((found[name] - tensor).norm()) <= 1e-5 * float(tensor.norm()) + 1e-7, name


def assert_same_files(run: Path, other: Path) -> None:
    assert metrics(run) == metrics(other)
    for place in (INITIAL, BEST, checkpoints(other)[-1].relative_to(other)):
        folder, like = run / place, other / place
        files = sorted(path.name for path in like.glob("*.safetensors"))
        assert files == sorted(path.name for path in folder.glob("*.safetensors"))
        for name in files:
            assert (folder / name).read_bytes() == (like / name).read_bytes(), folder / name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.stem))
def test_accelerate_reads_the_configurations(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.distributed_type in (DistributedType.FSDP, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    if config.distributed_type == DistributedType.FSDP:
        assert config.fsdp_config["fsdp_version"] == 2
    assert config.mixed_precision == "no", "--dtype chooses the data type"
    assert config.num_processes % config.num_machines == 0


@pytest.mark.parametrize("line", [line for line in pages.commands("docs/scale.md") if line.startswith("accelerate")])
def test_the_commands_of_the_page_are_valid(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, _, command = line.partition(" cli.py ")
    options = launch_command_parser().parse_args([*shlex.split(launch)[2:], "cli.py"])
    assert Path(options.config_file) in [path.relative_to(ROOT) for path in CONFIGS]
    pages.check_command(shlex.split(command, comments=True), monkeypatch)


@pytest.mark.slow
def test_accelerate_launches_a_sharded_run_whose_steps_are_those_of_replicas(tmp_path: Path) -> None:
    sharded, replicas = tmp_path / "sharded", tmp_path / "replicas"
    words = ["train", "--out", str(sharded), *SGD, "--iterations", "2"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(ROOT / "configs/fsdp2-cpu.yaml")]
    done = subprocess.run(
        [*launch, str(ROOT / "cli.py"), *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "2/2" in done.stdout, done.stderr
    run_two("train", "--out", str(replicas), *SGD, "--iterations", "2")
    assert_same_weights(sharded, replicas)
    assert cli("evaluate", "--agent", str(sharded), "--game", "ipd", "--episodes", "2").returncode == 0


@pytest.mark.slow
def test_a_resumed_sharded_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_two("train", "--out", str(whole), *IPD, "--iterations", "4", sharded=True)
    run_two("train", "--out", str(parts), *IPD, "--iterations", "2", sharded=True)
    run_two("train", "--out", str(parts), "--resume", "--iterations", "4", sharded=True)
    assert_same_files(parts, whole)


@pytest.mark.slow
def test_a_trunk_that_is_gathered_by_layer_gives_the_same_run(tmp_path: Path) -> None:
    whole, layers = tmp_path / "whole", tmp_path / "layers"
    for run in (whole, layers):
        run_two("train", "--out", str(run), *IPD, "--sharded-play", run.name, "--iterations", "2", sharded=True)
        run_two("train", "--out", str(run), "--resume", "--iterations", "4", sharded=True)
    assert_same_files(layers, whole)


@pytest.mark.slow
def test_one_process_uses_the_shards_of_two(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_two("train", "--out", str(run), *IPD, "--iterations", "2", sharded=True)
    names = [f"{kind}-shard-0000{number}-of-00002.safetensors" for kind in ("model", "training") for number in (1, 2)]
    newest = checkpoints(run)[-1]
    assert all((newest / name).is_file() for name in names) and all((run / BEST / name).is_file() for name in names[:2])
    assert all(name.startswith("heads.") for name in load_file(newest / WEIGHTS))
    whole = tensors(newest, WEIGHTS) | tensors(newest, TRAINING)
    found = {name: torch.empty_like(tensor) for name, tensor in whole.items()}
    with pytest.warns(UserWarning, match="load in a single process"):
        load(found, storage_reader=HuggingFaceStorageReader(str(newest)), no_dist=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    for words in (
        ("evaluate", "--agent", str(run), "--game", "ipd", "--episodes", "2"),
        ("export", str(run), "--to", str(tmp_path / "exported")),
        ("train", "--out", str(tmp_path / "warm"), "--init", str(run), *IPD, "--iterations", "1"),
    ):
        done = cli(*words)
        assert done.returncode == 0, done.stderr
    exported = load_file(tmp_path / "exported" / WEIGHTS)
    assert exported and all(torch.equal(tensor, whole[f"lm.{name}"]) for name, tensor in exported.items())
    (newest / names[1]).write_bytes(bytes((newest / names[1]).stat().st_size))
    for problem in ("is damaged: its SHA-256 differs", "is missing; the checkpoint is incomplete"):
        done = cli("play", "--agent", str(newest), "--game", "ipd", "--episodes", "1")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{names[1]} {problem}" in done.stderr
        (newest / names[1]).unlink(missing_ok=True)


@pytest.mark.slow
def test_a_part_that_only_one_process_reads_is_refused_by_both(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_two("train", "--out", str(run), *IPD, "--iterations", "4", sharded=True)
    newest, name = checkpoints(run)[-1], "model-shard-00002-of-00002.safetensors"
    save_file({key: torch.full_like(x, torch.nan) for key, x in load_file(newest / name).items()}, newest / name)
    about = json.loads((newest / AGENT).read_text())
    about["files"][name] = sha256(newest / name)
    (newest / AGENT).write_text(json.dumps({**about, "digest": ""}))
    streams = run_two("train", "--out", str(run), "--resume", "--iterations", "4", sharded=True)
    assert f"{name} cannot be used: lm.transformer.wte.weight is not finite" in "".join(streams[0])
    assert [path.name for path in sorted(newest.parent.iterdir())] == ["000002", "000004", "damaged-000004"]


@pytest.mark.slow
def test_two_one_and_two_processes_continue_each_other(tmp_path: Path) -> None:
    sharded, replicas = tmp_path / "sharded", tmp_path / "replicas"
    for run, how in ((sharded, True), (replicas, False)):
        run_two("train", "--out", str(run), *SGD, "--iterations", "2", sharded=how)
    assert_same_weights(sharded, replicas)
    for iterations in ("4", "6"):
        for run, how in ((sharded, True), (replicas, False)):
            words = ("train", "--out", str(run), "--resume", "--iterations", iterations)
            if iterations == "4":
                done = cli(*words)
                assert done.returncode == 0, done.stderr
            else:
                run_two(*words, sharded=how)
        assert_same_weights(sharded, replicas)
        assert [line["episodes"] for line in metrics(sharded)] == [line["episodes"] for line in metrics(replicas)]


@pytest.mark.slow
def test_moments_of_replicas_are_continued_by_shards(tmp_path: Path) -> None:
    replicas, sharded = tmp_path / "replicas", tmp_path / "sharded"
    run_two("train", "--out", str(replicas), *IPD, "--iterations", "2")
    shutil.copytree(replicas, sharded)
    state = tensors(checkpoints(replicas)[-1], TRAINING)
    for run, how in ((sharded, True), (replicas, False)):
        run_two("train", "--out", str(run), "--resume", "--iterations", "4", sharded=how)
        found = tensors(checkpoints(run)[-1], TRAINING)
        assert {name: tensor.shape for name, tensor in found.items()} == {n: x.shape for n, x in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "play"), [(0.0, "layers"), (0.3, "whole"), (1.1, "whole"), (1.1, "layers")])
def test_a_killed_process_ends_the_other_with_one_line(seconds: float, play: str, tmp_path: Path) -> None:
    words = ["train", "--out", str(tmp_path / "run"), *IPD, "--iterations", "1000", "--sharded-play", play]
    survivor, killed = start_two([str(ROOT / "cli.py"), *words], sharded=True)
    assert survivor.stdout is not None
    survivor.stdout.readline()  # the first iteration
    time.sleep(seconds)
    killed.kill()
    killed.communicate()
    error = survivor.communicate(timeout=60)[1]
    assert survivor.returncode == 1
    assert error.splitlines()[-1].startswith("error: another process of the run has ended")
    assert error.count("error:") == 1 and "Traceback" not in error


@pytest.mark.slow
def test_ctrl_c_during_play_by_layer_ends_both_processes_with_one_line(tmp_path: Path) -> None:
    words = ["train", "--out", str(tmp_path / "run"), "--game", "ipd", "--trunk", "pico", "--episodes", "8"]
    other, interrupted = start_two([str(ROOT / "cli.py"), *words, "--sharded-play", "layers"], sharded=True)
    assert other.stdout is not None
    other.stdout.readline()  # the first iteration
    for _ in range(2):  # the first one stops the run after the iteration
        time.sleep(0.3)
        interrupted.send_signal(signal.SIGINT)
    errors, none = (process.communicate(timeout=60)[1] for process in (other, interrupted))
    assert (interrupted.returncode, none) == (130, ""), errors
    # between two passes, all processes stop; during a pass, only the interrupted one can
    ended = {130: "stopped; ", 1: "error: another process of the run has ended"}
    assert errors.splitlines()[-1].startswith(ended[other.returncode]) and "Traceback" not in errors


def test_the_settings_of_fsdp1_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.model.sharding import sharding_plugin
    from agents.protocol import AgentError

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(AgentError, match="fsdp_version 1: expected 2"):
        sharding_plugin()
