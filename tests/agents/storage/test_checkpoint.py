"""Checkpoints and run folders: complete or refused in one clear line, never lost, never unpickled."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.registry import make_agent
from agents.storage.checkpoint import load_agent, read_tensors
from agents.storage.checkpoint_files import newest, verify
from agents.storage.run_folder import RunFolder, read_config, read_metrics
from agents.training.factory import make_trainer
from agents.training.trainer import Trainer
from games.files import sha256
from tests import ROOT

SETTINGS = TrainConfig.from_flat(
    {"game": "bandit", "trunk": "pico", "episodes": 4, "epochs": 1, "iterations": 2, "save_every": 1, "gamma": 0.5}
)
ABOUT = {"name": "tester", "prompt": "plain", "mode": "trie", "context": 64}
FILES = ("agent.json", "model.safetensors", "tokenizer.json", "training.safetensors", "state.json")


def refused(work: Callable[[], Any], *says: str) -> None:
    """Assert that `work` raises one line that contains these texts."""
    with pytest.raises(AgentError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in says), message


def resumed(out: Path, settings: TrainConfig = SETTINGS) -> Trainer:
    return make_trainer(settings.replace(iterations=3), out, resume=True)


# -- damage ------------------------------------------------------------------------------------------------


def spoil(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])


def test_a_run_without_a_checkpoint_starts_again_and_says_so(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    trainer = resumed(run)
    trainer.folder.unlock()
    trainer.runner.close()
    assert (trainer.iteration, trainer.notes) == (0, [f"{run} has no checkpoint, so the training starts again"])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "flipped"])
def test_a_damaged_file_is_detected(run: Path, name: str, damage: str) -> None:
    """No agent plays with it. A run resumes from the checkpoint before, and keeps the damaged one aside."""
    folder, said = newest(run), "missing" if damage == "missing" else "damaged"
    spoil(folder / name, damage)
    left = content(folder)
    if (name, damage) == ("agent.json", "missing"):  # without it there is no checkpoint: the one before is newest
        assert newest(run).name == "000001"
    else:
        refused(lambda: load_agent(run), name, said)
    trainer = resumed(run)
    trainer.runner.close()
    assert trainer.iteration == 1 and newest(run).name == "000001"
    (note,) = trainer.notes
    assert name in note and said in note and "continues from the one before" in note and "\n" not in note
    assert content(folder.with_name("damaged-000002")) == left


def test_a_run_with_a_damaged_checkpoint_ends_as_without(run: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    for _ in range(2):  # the second time, the first copy of the same checkpoint is replaced
        spoil(newest(run) / "training.safetensors", "truncated")
        list(make_trainer(SETTINGS, run, resume=True).run())
    for folder in (run, whole):
        list(resumed(folder).run())
    names = ("model.safetensors", "training.safetensors", "tokenizer.json")
    assert [(newest(run) / name).read_bytes() for name in names] == [(newest(whole) / n).read_bytes() for n in names]
    assert [line["episodes"] for line in read_metrics(run)] == [4, 8, 12]
    assert (run / "transcripts.jsonl").read_bytes() == (whole / "transcripts.jsonl").read_bytes()


def test_every_flipped_bit_of_the_description_is_detected(run: Path) -> None:
    folder, rng = newest(run), random.Random(0)
    path, before = folder / "agent.json", verify(newest(run))
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        broken = bytearray(content)
        broken[place] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            found = verify(folder)
        except AgentError:
            continue
        before.pop("digest", None)  # the name of the digest itself was hit, or a blank
        assert before.items() <= found.items(), (place, chr(content[place]), chr(broken[place]))


def test_weights_of_another_model(run: Path) -> None:
    folder = newest(run)

    def swapped(tensors: dict[str, torch.Tensor]) -> Path:
        save_file(tensors, folder / "model.safetensors")
        about = json.loads((folder / "agent.json").read_text())
        about["files"]["model.safetensors"] = sha256(folder / "model.safetensors")
        about.pop("digest", None)
        (folder / "agent.json").write_text(json.dumps(about))
        return folder

    tensors = read_tensors(folder / "model.safetensors")
    name = "heads.value.out.weight"
    refused(lambda: load_agent(swapped({"weight": torch.zeros(2)})), "another model", "names differ")
    refused(lambda: load_agent(swapped(tensors | {name: torch.zeros(1, 3)})), name, "[1, 3]", "[1, 12]")
    (folder / "model.safetensors").write_bytes(b"no safetensors at all")
    refused(lambda: read_tensors(folder / "model.safetensors"), "safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 99}, "format 2"),
        ({"model": {"trunk": "pico", "wings": 2}}, "wings"),
        ({"config": {"model_type": "no such model"}}, "decoders"),
        ({"prompt": "sung"}, "sung"),
        (
            {"files": {"é" * 300: "", "model.safetensors": "", "tokenizer.json": ""}},
            "is missing; the checkpoint is incomplete",
        ),
    ],
)
def test_a_description_of_something_else(run: Path, change: dict[str, Any], says: str) -> None:
    path = newest(run) / "agent.json"
    about = json.loads(path.read_text()) | change
    del about["digest"]
    path.write_text(json.dumps(about))
    refused(lambda: load_agent(run), says)


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    refused(lambda: load_agent(tmp_path), "no checkpoint", "agent.json")
    (tmp_path / "agent.json").write_text("[1]")
    refused(lambda: load_agent(tmp_path), "damaged", "list")


# -- resuming ----------------------------------------------------------------------------------------------


def test_other_settings_are_refused(run: Path) -> None:
    refused(lambda: resumed(run, SETTINGS.replace(lr=0.5)), "--lr 0.0003", "not 0.5")
    refused(lambda: resumed(run, SETTINGS.replace(trunk="small")), "--trunk 'pico'")
    refused(lambda: resumed(run, SETTINGS.replace(gamma=0.7)), "--gamma 0.5", "not 0.7")
    resumed(run, SETTINGS.replace(save_every=5, minutes=3.0)).runner.close()


def test_a_folder_that_is_not_empty(run: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(lambda: make_trainer(SETTINGS, run), "already holds a run", "--resume")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    for path, problem in (("other", "is not empty"), ("other/thesis.txt", "is a file")):
        with pytest.raises(AgentError) as caught:
            make_trainer(SETTINGS, tmp_path / path)
        assert str(caught.value) == f"{tmp_path / path} {problem}; choose a new folder as --out"
    refused(lambda: resumed(tmp_path / "nothing"), "no run to resume")
    assert not (tmp_path / "nothing").exists()


def test_a_folder_of_a_killed_start_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".settings.json-12-01234567").write_text("{")
    (tmp_path / ".initial-12-01234567").mkdir()
    (tmp_path / ".initial-12-01234567" / "agent.json").touch()
    make_trainer(SETTINGS, tmp_path).runner.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "initial", "settings.json", "tensorboard"]


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    make_trainer(SETTINGS, tmp_path).runner.close()
    assert read_config(tmp_path) == SETTINGS


def test_a_missing_setting_has_its_default(run: Path) -> None:
    path = run / "settings.json"
    found = json.loads(path.read_text())
    del found["imitation"]["greedy_share"], found["optimizer"]["kl_coef"]
    path.write_text(json.dumps(found))
    assert read_config(run) == SETTINGS
    resumed(run).runner.close()
    path.write_text(json.dumps(found))
    refused(lambda: make_trainer(SETTINGS.replace(greedy_share=0.5), run, resume=True), "--greedy-share 0.0", "0.5")


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path: Path) -> None:
    refused(lambda: make_trainer(SETTINGS.replace(trunk="smolm2"), tmp_path / "run"), "smollm2")
    refused(lambda: make_trainer(SETTINGS.replace(lora=4), tmp_path / "run"), "--lora")
    assert not (tmp_path / "run").exists()


def test_a_resume_that_fails_changes_nothing(run: Path) -> None:
    for folder in (run / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(lambda: resumed(run), "000002", "missing")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["metrics.jsonl", "transcripts.jsonl"])
def test_a_damaged_line_is_named(run: Path, name: str) -> None:
    lines = (run / name).read_text().splitlines()
    (run / name).write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    refused(lambda: resumed(run), name, "line 2", "damaged")
    if name == "metrics.jsonl":
        refused(lambda: read_metrics(run), name, "line 2", "damaged")


def test_damaged_settings(run: Path) -> None:
    path = run / "settings.json"
    texts = {
        "": "damaged: no valid JSON",
        "{": "damaged",
        '{"train": {}}': "unknown group 'train'",
        '{"run": {"x": 1}}': "unknown setting of run 'x'",
        '{"run": {"lr": 1}}': "it belongs in [update]",
        '{"update": {"lr": -1}}': "lr must be a number",
        '{"update": []}': "update must be a table of settings",
    }
    for text, says in texts.items():
        path.write_text(text)
        refused(lambda: resumed(run), "settings.json", says)
        refused(lambda: make_agent(str(run), seed=0), "settings.json", says)
    path.write_text('{"run": {"optimizer": "ppp"}}')
    refused(lambda: make_agent(str(run), seed=0), "settings.json: unknown optimizer 'ppp'")
    path.write_text('{"run": {"optimizer": "mine", "imports": "mine.py"}}')  # it may have registered the optimizer
    make_agent(str(run), seed=0)
    path.unlink()
    refused(lambda: make_agent(str(run), seed=0), "holds no run: expected a folder", "with settings.json in it")
    make_agent(str(newest(run)), seed=0)  # a checkpoint can be played without the settings of its run


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    list(make_trainer(SETTINGS.replace(iterations=4), tmp_path / "run").run())
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["000003", "000004"]


def test_a_deletion_that_was_killed_is_completed(run: Path) -> None:
    shutil.copytree(run / "checkpoints" / "000001", run / "checkpoints" / "000000")
    (run / "checkpoints" / "000000" / "agent.json").unlink()
    make_trainer(SETTINGS, run, resume=True).runner.close()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000001", "000002"]


@pytest.mark.slow
def test_two_processes_cannot_train_in_one_folder(run: Path) -> None:
    """The second one changes nothing, and can resume after the first one."""
    trainer = resumed(run)
    before = {name: data for name, data in content(run).items() if not name.startswith("tensorboard")}
    command = [sys.executable, "cli.py", "train", "--resume", "--out", str(run), "--iterations", "4"]

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    refusal = other()
    assert refusal.returncode == 2
    assert f"another process is training in {run}; wait for it" in " ".join(refusal.stderr.split())
    assert "Traceback" not in refusal.stderr
    assert before == {name: data for name, data in content(run).items() if not name.startswith("tensorboard")}
    assert [metrics["iteration"] for metrics in trainer.run()] == [2]
    assert other().returncode == 0
    assert [line["iteration"] for line in read_metrics(run)] == [0, 1, 2, 3]


def test_the_slower_of_two_new_runs_changes_nothing(tmp_path: Path) -> None:
    """Both find the folder free; one has finished when the other starts."""
    first, second = (
        RunFolder(tmp_path / "run", config, resume=False) for config in (SETTINGS, SETTINGS.replace(gamma=0.7))
    )
    first.create()
    first.unlock()
    refused(second.create, "already holds a run")
    assert read_config(tmp_path / "run") == SETTINGS


def test_metrics_that_are_not_finite_become_null(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS, resume=False)
    folder.create()
    folder.log({"iteration": 0, "loss": float("nan"), "kl": float("-inf"), "return": 1.5})
    assert read_metrics(tmp_path / "run") == [{"iteration": 0, "loss": None, "kl": None, "return": 1.5}]


# -- saving ------------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- nothing is unpickled ----------------------------------------------------------------------------------
