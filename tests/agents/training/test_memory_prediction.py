"""The memory model against counts by hand, passes with real tensors and measured peaks."""

import gc
import weakref
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import profile

from actde import OptimizerConfig, make_optimizer
from agents.config import ModelConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble, meta_model
from agents.model.heads import Heads
from agents.model.sharding import trunk_parameters, unit_bytes
from agents.training import memory_simulation
from agents.training.live_bytes import LiveBytes
from agents.training.memory_simulation import Simulation, _backward
from tests.helpers.memory import memory_of
from tests.helpers.models import bigram_model, tiny_model, tokenizer
from tests.helpers.update_peak import peak_of_update

PPO = make_optimizer("ppo", OptimizerConfig())
SIZES: dict[str, Any] = {"parallel": 4, "micro_batch_tokens": 1000, "context": 100}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux")
@pytest.mark.parametrize(
    ("rows", "length", "recompute"), [(4, 1000, False), pytest.param(4, 1000, True, marks=pytest.mark.slow)]
)
def test_the_prediction_of_an_update_is_near_the_measured_peak(rows: int, length: int, recompute: bool) -> None:
    model, _ = assemble(ModelConfig(trunk="small"), None)
    memory = memory_of(model, gradient_checkpointing=recompute)
    predicted = memory.predict(parallel=1, micro_batch_tokens=rows * length, context=length).activations
    allocator = {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed does not count
    assert 0.85 < predicted / peak_of_update(rows, length, recompute=recompute, **allocator) < 1.15


def test_the_counter_follows_tensors_until_they_are_freed() -> None:
    with LiveBytes() as memory:
        first = torch.zeros(1000)
        view = first[:10]
        assert memory.live == 4000
        second = first + 1
        del first
        assert memory.live == 8000  # the view keeps the memory
        del view, second
        assert (memory.live, memory.peak) == (0, 8000)


@pytest.mark.parametrize("free", [False, True])
def test_fake_tensors_need_what_real_ones_need(free: bool) -> None:
    model = tiny_model("llama", positions=64)
    optimizer = make_optimizer("ppo", OptimizerConfig(kl_coef=0.1 if free else 0.0))
    predicted = Simulation(model, UpdateConfig(), optimizer, free=free).update(rows=3, context=40)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with LiveBytes() as memory:
        memory.add([*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)])
        memory.reset_peak()
        before = memory.live
        _backward(model, 3, 40, optimizer, free=free)
    assert predicted == memory.peak - before


@pytest.mark.parametrize("recompute", [False, True])
def test_further_layers_add_what_simulating_all_of_them_adds(recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 9}
    lm = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=60, max_position_embeddings=128, **sizes))
    simulation = Simulation(
        ActorCritic(lm, Heads(32, 60)), UpdateConfig(gradient_checkpointing=recompute), PPO, on_gpu=True
    )

    def simulated() -> list[float]:
        return [*simulation.rollout(parallel=3, context=64), simulation.update(rows=2, context=64), simulation.step()]

    extrapolated = simulated()
    monkeypatch.setattr(memory_simulation, "SIMULATED_LAYERS", (99,))
    assert extrapolated == pytest.approx(simulated(), rel=0.01)


def test_weights_gradients_and_moments_are_counted() -> None:
    model = tiny_model("llama")
    size = sum(parameter.nbytes for parameter in model.parameters())
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    predicted = memory_of(model).predict(**SIZES)
    assert (predicted.weights, predicted.gradients, predicted.moments) == (size + buffers, size, 2 * size)
    assert memory_of(model, torch_optimizer="sgd").predict(**SIZES).moments == 0
    assert predicted.cache == 4 * 256 * 2 * 2 * 2 * 4 * 4  # streams, positions, layers, k and v, heads, width, bytes
    assert predicted.peak == max(predicted.phases.values()) > predicted.phases["step"] > 4 * size
    assert memory_of(model, copied=True).predict(**SIZES).reference == size


def test_shards_divide_the_trunk_and_gather_it_for_play() -> None:
    model = tiny_model("llama")
    whole, half = memory_of(model).predict(**SIZES), memory_of(model, ranks=2).predict(**SIZES)
    heads = sum(parameter.nbytes for parameter in model.heads.parameters())
    trunk = whole.gradients - heads
    assert half.gradients == trunk / 2 + heads and half.moments == 2 * half.gradients
    embeddings = 2 * unit_bytes(model)[0]  # the shards and the message that gathers them
    assert (half.gathered_play, half.gathering) == (trunk, embeddings) and half.gathered_update > 0
    copied = memory_of(model, ranks=2, copied=True).predict(**SIZES)  # only the copy's root unit is gathered in a step
    state = half.weights + half.moments + half.gradients + half.step
    assert half.phases["step"] == state
    assert copied.phases["step"] == state + copied.reference + unit_bytes(model)[0]


def test_offloaded_shards_are_not_on_the_device() -> None:
    model = tiny_model("llama")
    memory = memory_of(model, ranks=2, copied=True)
    stored, offloaded = (replace(memory, offloaded=each).predict(**SIZES) for each in (False, True))
    heads = sum(parameter.nbytes for parameter in model.heads.parameters())
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert (offloaded.weights, offloaded.reference, offloaded.gradients) == (heads + buffers, heads, heads)
    assert offloaded.moments == 2 * heads
    assert offloaded.step / stored.step == pytest.approx(offloaded.gradients / stored.gradients)
    assert (offloaded.gathered_play, offloaded.gathered_update) == (stored.gathered_play, stored.gathered_update)


def test_a_frozen_copy_has_no_master_weights() -> None:
    model = tiny_model("llama")
    model.lm.to(torch.bfloat16)
    trunk = sum(parameter.nbytes for parameter in trunk_parameters(model))
    heads = sum(parameter.nbytes for parameter in model.heads.parameters())
    half = memory_of(model, ranks=2, copied=True).predict(**SIZES)
    assert half.reference == trunk / 2 + heads


def test_attention_that_keeps_its_probabilities_is_counted() -> None:
    model = tiny_model("llama")
    linear = memory_of(model).predict(**SIZES).activations
    model.base.set_attn_implementation("eager")
    assert memory_of(model).predict(**SIZES).activations - linear > 10 * 100**2 * 4 * 4  # rows, pairs, heads, bytes


def test_the_prediction_changes_neither_random_numbers_nor_the_model() -> None:
    model = tiny_model("gpt2", dropout=0.5)
    before, layers = torch.get_rng_state(), model.layers
    memory_of(model).predict(**SIZES)
    assert torch.equal(torch.get_rng_state(), before) and not model.training
    assert len(model.decoder.h) == layers and all(p.grad is None and not p.is_meta for p in model.parameters())


def test_a_trunk_without_layers_needs_almost_nothing() -> None:
    predicted = memory_of(bigram_model(torch.zeros(3, 3))).predict(**SIZES)
    assert predicted.cache == 0 and predicted.peak < 100_000


def test_a_model_of_20_billion_parameters_is_predicted_without_its_weights() -> None:
    from transformers import GPTNeoXConfig

    model = meta_model(ModelConfig(trunk="20b", dtype="bfloat16", q_heads=0), GPTNeoXConfig(), 0, on_cpu=False)
    memory = memory_of(model, gradient_checkpointing=True)
    predicted = memory.predict(parallel=8, micro_batch_tokens=2048, context=2048)
    count = sum(p.numel() for p in model.lm.parameters())
    assert 20.5e9 < count < 20.6e9
    assert predicted.weights == pytest.approx(2 * count, rel=1e-4)
    assert predicted.moments == pytest.approx(8 * count, rel=1e-4)
    assert predicted.master_weights == predicted.gradients - 4 * sum(p.numel() for p in model.heads.parameters())
    assert predicted.cache == 8 * 2048 * 2 * 44 * 6144 * 2


def test_a_bfloat16_trunk_with_an_adapter_keeps_no_float32_copies(tmp_path: Path) -> None:
    tiny_model("llama").base.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    predicted = {}
    for lora in (0, 2, 16):
        model, _ = assemble(ModelConfig(trunk=str(tmp_path), lora=lora, dtype="bfloat16"), None)
        predicted[lora] = memory_of(model).predict(**SIZES)
    assert predicted[2].master_weights == 0 < predicted[0].master_weights
    assert predicted[2].activations < 1.5 * predicted[0].activations
    assert predicted[2].activations < predicted[16].activations


@pytest.mark.slow
def test_free_text_needs_room_for_the_vocabulary() -> None:
    model = tiny_model("llama")
    commands, free = (memory_of(model, mode=mode).predict(**SIZES).activations for mode in ("trie", "free"))
    with_kl = memory_of(model, mode="free", measure_kl=True).predict(**SIZES).activations
    assert commands < free < with_kl


def test_the_prediction_keeps_no_copy_of_the_model() -> None:
    model = tiny_model()
    weights = [weakref.ref(parameter) for parameter in model.parameters()]
    memory_of(model).predict(**SIZES)
    del model
    gc.collect()
    assert not [ref for ref in weights if ref() is not None]


@pytest.mark.slow
def test_further_streams_add_what_simulating_all_of_them_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(tiny_model("llama", positions=64), UpdateConfig(), PPO)
    extrapolated = simulation.rollout(parallel=40, context=32)
    monkeypatch.setattr(memory_simulation, "STREAMS", 40)
    assert extrapolated == pytest.approx(simulation.rollout(parallel=40, context=32), rel=0.01)
    assert memory_of(tiny_model("llama")).predict(**SIZES | {"parallel": 1_000_000}).cache > 1e9


def test_the_gradient_of_an_index_is_counted_as_torch_allocates_it() -> None:
    weight, index = torch.zeros(1000, 10, requires_grad=True), torch.zeros(5, 2, dtype=torch.int64)
    with LiveBytes() as memory:
        torch.autograd.backward(weight[index].sum())
    with profile(profile_memory=True) as profiler:
        torch.autograd.backward(torch.zeros(1000, 10, requires_grad=True)[index].sum())
    events = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = max(accumulate(events)) - weight.nbytes
    assert memory.peak == pytest.approx(allocated, rel=0.05) == pytest.approx(weight.nbytes, rel=0.05)


def test_the_whole_gradients_of_sharded_embeddings_are_kept_to_the_end_of_the_backward_pass() -> None:
    model = tiny_model("llama")
    whole, sharded = (Simulation(model, UpdateConfig(), PPO, free=True, sharded=each) for each in (False, True))
    root = unit_bytes(model)[0]
    grown = sharded.update(rows=1, context=4) - whole.update(rows=1, context=4)
    assert 0 < grown <= root
