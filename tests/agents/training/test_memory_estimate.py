"""The memory estimate against counts by hand and measured peaks, and its error message."""

import gc
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoConfig

from agents.config import ModelConfig, TrainConfig, UpdateConfig
from agents.model.build import assemble, meta_model
from agents.model.sharding import gathered_bytes, trunk_parameters
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.training import updater
from agents.training.factory import make_trainer
from agents.training.memory_estimate import (
    SMALLER_GATHER,
    SMALLER_ROLLOUT,
    SMALLER_UPDATE,
    MemoryNeeds,
    available,
    check_memory,
)
from agents.training.updater import Updater
from experiments.memory_table import DECODERS
from tests import ROOT
from tests.helpers.models import bigram_model, tiny_model
from tests.helpers.update_peak import peak_of_update

NEEDS = MemoryNeeds(
    layers=2,
    fixed=1000,
    replicated=0,
    per_position=8,
    per_pass=0.0,
    per_token=100.0,
    per_pair=0.0,
    checkpoint=10,
    per_choice=50,
)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux")
@pytest.mark.parametrize(
    ("rows", "length", "recompute"),
    [
        (4, 1000, False),
        pytest.param(1, 2000, False, marks=pytest.mark.slow),
        pytest.param(4, 1000, True, marks=pytest.mark.slow),
    ],
)
def test_the_estimate_of_an_update_is_near_the_measured_peak(rows: int, length: int, recompute: bool) -> None:
    model, _ = assemble(ModelConfig(trunk="small"), None)
    needs = MemoryNeeds.of(model, UpdateConfig())
    estimate = needs.update(micro_batch_tokens=rows * length, context=length, recompute=recompute)
    assert 0.6 < estimate / peak_of_update(rows, length, recompute=recompute) < 1.7


def test_activations_are_linear_in_the_tokens() -> None:
    model = tiny_model("llama")
    needs = MemoryNeeds.of(model, UpdateConfig())
    assert needs.per_pair == 0 and needs.per_pass == 0 and needs.per_token > 0
    assert needs.per_position == 2 * 2 * 2 * 4 * 4  # layers, keys and values, heads of keys, their width, bytes
    assert needs.checkpoint == 2 * 16 * 4
    trained = sum(parameter.nbytes for parameter in model.parameters())
    assert needs.fixed == 3 * trained and MemoryNeeds.of(model, UpdateConfig(torch_optimizer="sgd")).fixed == trained


def test_attention_that_keeps_its_probabilities_is_counted() -> None:
    model = tiny_model("llama")
    model.base.set_attn_implementation("eager")
    needs = MemoryNeeds.of(model, UpdateConfig())
    assert needs.per_pair >= 2 * 4 * 4  # layers, heads, bytes


def test_the_estimate_changes_neither_random_numbers_nor_the_mode() -> None:
    model = tiny_model("gpt2", dropout=0.5)
    before = torch.get_rng_state()
    MemoryNeeds.of(model, UpdateConfig())
    assert torch.equal(torch.get_rng_state(), before) and not model.training


def test_a_trunk_without_layers_needs_almost_nothing() -> None:
    needs = MemoryNeeds.of(bigram_model(torch.zeros(3, 3)), UpdateConfig())
    assert needs.per_position == 0 and needs.checkpoint == 0


def test_a_run_that_does_not_fit_is_refused_with_a_setting_that_fits() -> None:
    config = TrainConfig.from_flat({"micro_batch_tokens": 1000, "parallel": 4, "episodes": 4})

    def refusal(free: int, context: int = 100) -> str:
        with pytest.raises(AgentError) as caught:
            check_memory(NEEDS, config, context=context, free=free)
        return str(caught.value)

    check_memory(NEEDS, config, context=100, free=int(1000 + 1.5 * 4 * 256 * 8 + 1.6 * 1000 * 100))
    assert "lower --micro-batch-tokens to 199" in refusal(1000 + 12288 + 16000)  # one stream of 100
    assert "lower --micro-batch-tokens to 299" in refusal(1000 + 12288 + 32000)
    assert "1000 tokens" in refusal(100_000, context=1000)
    assert "lower --context and --micro-batch-tokens to 16" in refusal(1000 + 12288 + 16 * 160)
    assert refusal(1000).endswith("choose a smaller trunk")
    assert refusal(1000 + 12288 + 120_000).endswith(
        "lower --micro-batch-tokens to 799, or use --gradient-checkpointing"
    )
    wide = TrainConfig.from_flat({"micro_batch_tokens": 100, "parallel": 40, "episodes": 40})
    with pytest.raises(AgentError, match=r"lower --parallel to 3$"):
        check_memory(NEEDS, wide, context=100, free=1000 + 3 * 3072 + 16000)
    recomputed = wide.replace(gradient_checkpointing=True)
    with pytest.raises(AgentError, match=r"lower --parallel to \d+$"):
        check_memory(NEEDS, recomputed, context=100, free=1000 + 3 * 3072 + 16000)


def test_some_memory_is_free() -> None:
    assert 0 < available(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(
    ("owner", "name", "advice"),
    [
        (Updater, "_step", SMALLER_UPDATE),
        (EpisodeRunner, "play", SMALLER_ROLLOUT),
        (updater, "gather_trunk", SMALLER_GATHER),  # after the update
    ],
)
def test_an_error_of_full_memory_names_the_settings_to_lower(
    owner: object, name: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    trainer = make_trainer(TrainConfig.from_flat({"game": "bandit", "trunk": "pico"}), tmp_path / "run")
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(torch.OutOfMemoryError) as error:
        trainer.iterate()
    assert error.value.__notes__ == [advice]


def test_processes_share_the_memory_of_a_cpu_and_have_their_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=800))
    for name, value in (("mem_get_info", (80, 100)), ("memory_reserved", 5), ("memory_allocated", 3)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert available(torch.device("cpu"), 8) == 100
    assert available(torch.device("cuda"), 8) == 82


@pytest.mark.parametrize(("processes", "gigabytes"), [(8, 72), (16, 57)])
def test_a_sharded_trunk_needs_the_memory_that_the_page_states(processes: int, gigabytes: int) -> None:
    config = AutoConfig.for_model(**DECODERS["GPT-NeoX-20B"])
    model = meta_model(ModelConfig(dtype="bfloat16", trunk="neox", q_heads=0), config, 0)
    needs = replace(NEEDS, fixed=16 * sum(p.numel() for p in trunk_parameters(model)))
    shards = partial(needs.sharded, [model], processes=processes, on_device=False)
    whole, by_layer = shards(offloaded=False), shards(offloaded=False, by_layer=True)
    assert round(whole.fixed / 1e9) == gigabytes
    assert f"= {gigabytes} GB |" in (ROOT / "docs/scale.md").read_text()
    # the weights of the heads are as large as their gradients, which play does not need
    assert shards(offloaded=True).fixed == gathered_bytes(model, by_layer=False)
    assert shards(offloaded=False, on_device=True).fixed == pytest.approx(needs.fixed // processes, rel=1e-4)
    # the embeddings and the lm_head, and two of 44 layers
    assert gathered_bytes(model, by_layer=True) == pytest.approx((2 * 50432 * 6144 + 24 * 6144**2) * 2, rel=1e-3)
    assert by_layer.fixed < whole.fixed - 25e9


def test_every_process_stores_the_whole_heads() -> None:
    model = tiny_model("llama")
    trunk = sum(parameter.nbytes for parameter in trunk_parameters(model))
    heads = sum(parameter.nbytes for parameter in model.heads.parameters())
    needs = MemoryNeeds.of(model, UpdateConfig())
    assert (needs.fixed, needs.replicated) == (3 * (trunk + heads), 3 * heads)  # gradients and two moments
    half = needs.sharded([model], processes=2, on_device=False, offloaded=False)
    freed = min(trunk, trunk // 2 + heads)  # the gradients, while the whole trunk is gathered in play
    assert half.fixed == 4 * trunk // 2 + 4 * heads + trunk - freed
    assert needs.sharded([model], processes=2, on_device=True, offloaded=False).fixed == 4 * trunk // 2 + 3 * heads


def test_a_bfloat16_trunk_with_an_adapter_keeps_no_float32_copies(tmp_path: Path) -> None:
    plain = tiny_model("llama").base
    plain.save_pretrained(tmp_path)
    from tests.helpers.models import tokenizer

    tokenizer().save_pretrained(tmp_path)
    kept = {}
    for lora in (2, 16):
        model, _ = assemble(ModelConfig(trunk=str(tmp_path), lora=lora, dtype="bfloat16"), None)
        kept[lora] = MemoryNeeds.of(model, UpdateConfig()).per_token
        assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    whole = MemoryNeeds.of(assemble(ModelConfig(trunk=str(tmp_path), dtype="bfloat16"), None)[0], UpdateConfig())
    assert kept[2] < 1.5 * whole.per_token and kept[16] - kept[2] == 2 * 7 * 14 * 2  # layers, linear, ranks, bytes


def test_free_text_needs_room_for_the_vocabulary() -> None:
    config = TrainConfig.from_flat({"parallel": 1, "micro_batch_tokens": 100, "mode": "free"})
    bare = 1000 + int(1.5 * 256 * 8 + 1.6 * 100 * 100)
    for explicit, stored in ((dict[str, Any](), 1), ({"measure_kl": True}, 2)):
        need = bare + stored * 100 * 50
        check_memory(NEEDS, config.replace(**explicit), context=100, free=need)
        with pytest.raises(AgentError, match=r"lower --[a-z]|choose a smaller trunk"):
            check_memory(NEEDS, config.replace(**explicit), context=100, free=need - 1)


def test_the_measurement_keeps_no_activations() -> None:
    model = tiny_model()
    weights = [weakref.ref(parameter) for parameter in model.parameters()]
    MemoryNeeds.of(model, UpdateConfig())
    del model
    gc.collect()
    assert not [ref for ref in weights if ref() is not None]
