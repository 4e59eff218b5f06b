"""Streams packed into one row have the hidden states of separate streams, in many kinds of decoders."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from agents.model import packed_attention
from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import use_blockwise_attention
from agents.model.heads import Heads
from agents.model.packed_attention import PackedAttention, can_pack, packed_states
from agents.model.prefix_tree import PrefixTree
from experiments.decoders.architectures import WINDOW, tiny_decoder
from tests.helpers.models import KINDS, Kind, assert_close, tiny_model

PACKED = ("llama", "gpt2", "mistral", "gemma3_text", "gemma3", "llama4", "qwen2_moe", "opt", "phi3", "deepseek_v3")
"""Packed decoders, some with windows, chunks, experts, learned positions, latent attention or nested configurations."""
SEPARATE = ("gemma2", "gpt_neo", "bloom", "lfm2", "mamba", "gpt_oss")
"""Decoders that are not packed: attention outside the interface of `transformers`, recurrent layers, convolutions."""


def decoder(name: str, dtype: torch.dtype = torch.float32) -> ActorCritic:
    lm = tiny_decoder(name, 64).to(dtype)
    vocabulary, width = lm.get_output_embeddings().weight.shape
    return ActorCritic(lm, Heads(width, vocabulary), noisy_trunk=False).eval()


def random_streams(seed: int = 0, count: int = 8) -> list[NDArray[np.int64]]:
    """Streams that leave a common stream at different positions. One of them is a prefix, and two are equal."""
    rng = np.random.default_rng(seed)
    common = rng.integers(2, 60, 2 * WINDOW)
    cuts = rng.integers(3, len(common), count)
    branches = [np.concatenate([common[:cut], rng.integers(2, 60, rng.integers(1, 2 * WINDOW))]) for cut in cuts]
    return [*branches, common, common]


def packed(model: ActorCritic, tree: PrefixTree) -> Tensor:
    with packed_states(model, tree) as states:
        return states


def assert_as_separate(model: ActorCritic, streams: Sequence[NDArray[np.int64]], *, within: float) -> None:
    tree = PrefixTree.of(streams)
    with torch.no_grad():
        states = packed(model, tree)[0]
        for stream, nodes in zip(streams, tree.nodes, strict=True):
            plain = model.hidden_states(torch.from_numpy(stream)[None], use_cache=False)[0]
            errors = (states[nodes[: len(stream)]] - plain).norm(dim=-1) / plain.norm(dim=-1)
            assert float(errors.max()) < within


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("block", [7, 128])
def test_states_are_those_of_separate_streams(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_attention, "BLOCK", block)
    model = decoder(name)
    assert can_pack(model) and can_pack(model.train())
    assert_as_separate(model.eval(), random_streams(), within=2e-5)


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("blockwise", [True, False])
def test_bfloat16(name: str, blockwise: bool) -> None:
    model = decoder(name, torch.bfloat16)
    if blockwise:
        use_blockwise_attention(model.lm)
    assert can_pack(model)
    assert_as_separate(model, random_streams(), within=0.1)


@pytest.mark.parametrize("name", SEPARATE)
def test_other_decoders_are_not_packed(name: str) -> None:
    assert not can_pack(decoder(name))


def test_eager_attention_is_not_packed() -> None:
    model = tiny_model()
    model.lm.set_attn_implementation("eager")
    assert not can_pack(model)


@pytest.mark.parametrize("kind", KINDS)
def test_active_dropout_is_not_packed(kind: Kind) -> None:
    model = tiny_model(kind, dropout=0.3)
    assert can_pack(model) and not can_pack(model.train())
    adapter = tiny_model()
    adapter.lm.lora_dropout = nn.Dropout(0.1).eval()  # has no effect on the states as long as an adapter is new
    assert can_pack(adapter) and not can_pack(adapter.train())


def test_verification_keeps_random_numbers_and_the_registries() -> None:
    model, registries = (
        tiny_model("llama", dropout=0.3).train(),
        (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS),
    )
    functions, before = [registry["sdpa"] for registry in registries], torch.get_rng_state()
    assert not can_pack(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [registry["sdpa"] for registry in registries] == functions


def test_a_trunk_that_ignores_the_mask_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    def causal(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return sdpa_attention_forward(*args[:4], None, **kwargs)

    monkeypatch.setattr(PackedAttention, "attend", causal)
    assert not can_pack(tiny_model())


def test_a_block_gathers_only_the_keys_that_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stem of 10 nodes with 20 branches of 10: a block of one branch sees the stem and itself."""
    monkeypatch.setattr(packed_attention, "BLOCK", 10)
    stem = list(range(10))
    tree = PrefixTree.of([np.array([*stem, *[20 + branch] * 10], dtype=np.int64) for branch in range(20)])
    attention = PackedAttention(torch.from_numpy(tree.depths), torch.from_numpy(tree.ends))
    sizes = [len(attention.make_block(start, start + 10, causal_mask_function).keys) for start in range(0, 210, 10)]
    assert sizes == [10] + [20] * 20

    def window(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key > query - 3)

    assert [len(attention.make_block(start, start + 10, window).keys) for start in (0, 10, 200)] == [10, 12, 12]


def test_gradients_are_those_of_separate_streams() -> None:
    model, streams = tiny_model(), random_streams()
    streams = [stream % 20 for stream in streams]
    tree, found = PrefixTree.of(streams), []
    weights = [torch.randn(len(stream), 16, generator=torch.Generator().manual_seed(len(stream))) for stream in streams]
    for together in (True, False):
        states = packed(model, tree)[0] if together else torch.empty(0)
        loss = torch.zeros(())
        for stream, nodes, weight in zip(streams, tree.nodes, weights, strict=True):
            plain = model.hidden_states(torch.from_numpy(stream)[None], use_cache=False)[0]
            loss = loss + ((states[nodes[: len(stream)]] if together else plain) * weight).sum()
        found.append(torch.autograd.grad(loss, [*model.decoder.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, within=1e-5 * (1 + float(theirs.abs().max())))
