"""Two processes take the gradient steps of one process, with replicas of the model and with a sharded trunk."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.decoders.measure import byte_tokenizer, save
from tests.helpers.parallel_updates import CASES, MODES, QUICK, work
from tests.helpers.processes import finish, start_two


def metrics(path: Path) -> dict[str, Any]:
    """Return the metrics of a process, without `prefix_sharing`, which depends on the episodes that the process has."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "prefix_sharing"}


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).float().norm() / expected.float().norm())


def assert_same_steps(folder: Path, kind: str, cases: tuple[str, ...]) -> None:
    """Compare ten gradient steps of two processes with those of one, for each case. One launch runs all cases."""
    for decoder in {case.split("-")[0] for case in cases}:
        save(decoder, folder / decoder)
    workers = start_two(["-m", "tests.helpers.parallel_updates", "{rank}", "2", str(folder), kind])
    work(0, 1, folder, cases)
    finish(workers, timeout=900)
    differing = []
    for case in cases:
        # in bfloat16, micro-batches of one process differ from those of two, and their gradients are rounded; a weight
        # of two processes may differ by a rounding, 2^-8
        count, within = (2, 2**-8) if case.endswith("bfloat16") else (1, 1e-5)
        alone = load_file(folder / f"{case}-replicas-0-of-{count}.safetensors")
        for mode in MODES:
            for rank in range(2):
                name = f"{case}-{mode}-{rank}-of-2"
                if not case.endswith("bfloat16"):
                    expected = metrics(folder / f"{case}-replicas-0-of-1.json")
                    assert metrics(folder / f"{name}.json") == pytest.approx(expected, rel=1e-3, abs=1e-5), name
                found = load_file(folder / f"{name}.safetensors")
                assert found.keys() == alone.keys()
                differences = {n: relative(found[n], x) for n, x in alone.items()}
                worst = max(differences, key=lambda name: differences[name])
                if not differences[worst] <= within:
                    differing.append(f"{case}, {mode}, process {rank}: {worst} by {differences[worst]:.1e}")
    assert not differing, "\n".join(differing)


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    assert_same_steps(tmp_path, "quick", QUICK)


@pytest.mark.slow
def test_all_decoders_weights_and_optimizers(tmp_path: Path) -> None:
    assert_same_steps(tmp_path, "all", CASES)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="private memory is read from Linux")
def test_no_process_holds_the_whole_model_while_it_is_loaded(tmp_path: Path) -> None:
    sizes = {"vocab_size": 400, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    for layers, folder in ((1, tmp_path / "tiny"), (8, tmp_path / "trunk")):
        trunk = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=layers, max_position_embeddings=128))
        trunk.to(torch.bfloat16).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    weights = (tmp_path / "trunk/model.safetensors").stat().st_size / 1e6
    names = [str(tmp_path / name) for name in ("tiny", "trunk", "{rank}.txt")]
    finish(start_two(["-m", "tests.helpers.sharded_loading", *names], sharded=True), timeout=300)
    largest = max(float((tmp_path / f"{rank}.txt").read_text()) for rank in range(2))
    parts = weights + weights / 2  # half of the float32 master weights, and half of the bfloat16 copy
    assert 0.9 * parts < largest < 1.2 * parts


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="private memory is read from Linux")
def test_no_process_gathers_the_model_to_save_it(tmp_path: Path) -> None:
    sizes = {"vocab_size": 400, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
    trunk = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=6, max_position_embeddings=128))
    trunk.to(torch.bfloat16).save_pretrained(tmp_path / "trunk")
    byte_tokenizer().save_pretrained(tmp_path / "trunk")
    names = [str(tmp_path / name) for name in ("trunk", "run", "{rank}.txt")]
    finish(start_two(["-m", "tests.helpers.sharded_saving", *names], sharded=True), timeout=300)
    results = [json.loads((tmp_path / f"{rank}.txt").read_text()) for rank in range(2)]
    shards = [f"{file}-shard-0000{number}-of-00002.safetensors" for file in ("model", "training") for number in (1, 2)]
    files = ["agent.json", "model.safetensors", "state.json", "tokenizer.json", "training.safetensors", *shards]
    for result in results:
        assert result["saving"] < 0.2 * result["parts"], "gathered, process 0 needs 1.5 times its parts"
        assert result["loading"] < result["parts"], "new moments take two thirds"
        full, diverged = result["errors"]
        assert full.startswith("OSError: [Errno 28] No space left on device") and f"{shards[1]}'" in full
        assert diverged == "DivergenceError: lm.model.embed_tokens.weight is not finite"
        assert result["files"] == sorted(["000001", *(f"000001/{name}" for name in files)])
