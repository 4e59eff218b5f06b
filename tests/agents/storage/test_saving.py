"""Saving a checkpoint: interrupted, in half precision, and without pickles."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

import agents.storage.checkpoint
from agents.config import ModelConfig
from agents.model.build import assemble
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent, save_agent, trained_tensors
from tests import ROOT
from tests.agents.storage.test_checkpoint import ABOUT, content, resumed
from tests.helpers.scripts import Scene, script


@pytest.mark.parametrize("where", ["write_tensors", "write_json", "digest_of"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_keeps_the_old_checkpoint(
    run: Path, where: str, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = resumed(run)
    before = content(run / "checkpoints")

    def broken(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr(agents.storage.checkpoint, where, broken)
    with pytest.raises(type(failure)):
        trainer.save()
    trainer.runner.close()
    assert content(run / "checkpoints") == before
    monkeypatch.undo()
    load_agent(run)


def test_a_save_that_cannot_be_renamed_restores_the_old_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, rename = resumed(run), Path.rename
    before = content(run / "checkpoints")

    def broken(self: Path, target: Path) -> Path:
        if target.name == "000002" and not self.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="Input/output"):
        trainer.save()
    assert content(run / "checkpoints") == before
    monkeypatch.undo()
    trainer.save()  # in the place of the old one
    trainer.runner.close()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000001", "000002"]
    load_agent(run)


def test_half_precision_halves_the_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assembly = ModelConfig(trunk="small", q_heads=2, target_q=True)
    model, words = assemble(assembly, None)
    model.eval()
    save_agent(tmp_path / "full", model, words, assembly, ABOUT)
    save_agent(tmp_path / "half", model, words, assembly, ABOUT, dtype=torch.float16)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert 0.49 < half / full < 0.52
    loaded = load_agent(tmp_path / "half", seed=4)
    for name, tensor in trained_tensors(loaded.model).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, trained_tensors(model)[name].half().float()), name
    assert (loaded.name, loaded.context, loaded.mode, loaded.prompt.name) == ("tester", 64, "trie", "plain")
    assert loaded.tokenizer.encode("Go North\n> [UNK]") == words.encode("Go North\n> [UNK]")
    with EpisodeRunner([script(Scene("a room", {"go north": 1.0, "go south": 0.0}))], seed=0) as runner:
        assert len(list(runner.play(loaded, 2))) == 2


PICKLES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


CALLS = {("torch", "load"), ("torch", "save"), ("np", "load"), ("np", "save"), ("numpy", "load"), ("pd", "read_pickle")}


def test_no_code_of_ours_reads_or_writes_pickles() -> None:
    root = ROOT
    sources = [path for part in ("actde", "agents", "games", "experiments") for path in (root / part).rglob("*.py")]
    assert len(sources) > 40
    for path in [*sources, *root.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & PICKLES, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in CALLS, f"{path}:{node.lineno}"
