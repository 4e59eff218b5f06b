"""Blockwise attention against torch's own: the same numbers, gradients and model outputs."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from agents.config import UpdateConfig
from agents.model import cpu_attention
from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import BLOCK, blockwise_attention, masked_attention, use_blockwise_attention
from agents.training.memory_estimate import MemoryNeeds
from tests.helpers.models import KINDS, Kind, assert_close, tiny_lm, tiny_model


def states(heads: int, groups: int, length: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    sizes = ((2, length, heads, 8), (2, length, groups, 8), (2, length, groups, 8))
    return [torch.randn(s, generator=generator).to(dtype).transpose(1, 2).requires_grad_() for s in sizes]


def grouped(query: Tensor, groups: int) -> Tensor:
    scale: float = query.shape[3] ** -0.5
    return (query * scale).reshape(len(query), groups, -1, *query.shape[2:])


@pytest.mark.parametrize("length", [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 40])
@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
def test_blocks_equal_torchs_own_attention_and_its_gradients(heads: int, groups: int, length: int) -> None:
    results = []
    for name in ("ours", "torch"):
        query, key, value = states(heads, groups, length, torch.float32)
        if name == "ours":
            out = blockwise_attention(grouped(query, groups), key, value, None).flatten(1, 2)
        else:
            out = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
        results.append([out, *torch.autograd.grad((out * weights).sum(), (query, key, value))])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, within=5e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bfloat16_trunk_has_the_same_logits(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_attention, "BLOCK", 7)
    plain, blocked = (tiny_lm(kind, 50).to(torch.bfloat16) for _ in range(2))
    use_blockwise_attention(blocked)
    called = []

    def counted(*args: Tensor) -> Tensor:
        called.append(args)
        return blockwise_attention(*args)

    monkeypatch.setattr(cpu_attention, "blockwise_attention", counted)
    tokens = torch.arange(40).view(2, 20)
    exact = tiny_lm(kind, 50)(input_ids=tokens).logits
    errors = [(lm(input_ids=tokens).logits - exact).abs().mean() for lm in (plain, blocked)]
    assert called and errors[1] < 1.5 * errors[0]


def test_memory_stays_linear_in_the_stream() -> None:
    model = tiny_model("llama")
    lm = model.base.to(torch.bfloat16)
    use_blockwise_attention(lm)
    assert MemoryNeeds.of(ActorCritic(lm, model.heads), UpdateConfig()).per_pair == 0


def test_eager_attention_is_not_replaced() -> None:
    lm = tiny_lm("llama", 50)
    lm.set_attn_implementation("eager")
    use_blockwise_attention(lm)
    assert lm.config._attn_implementation == "eager"


def test_masked_attention_equals_torchs_own() -> None:
    query, key, value = states(6, 2, 9, torch.float32)
    mask = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.5
    mask |= torch.eye(9, dtype=torch.bool)
    added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    ours = masked_attention(grouped(query, 2), key, value, added[:, :, None]).flatten(1, 2)
    assert_close(ours, scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 7, 16, 33, BLOCK + 3])
def test_the_path_without_a_gradient_has_the_same_numbers(dtype: torch.dtype, length: int) -> None:
    query, key, value = states(6, 2, length, dtype)
    mask = torch.full((length, length), -torch.inf, dtype=dtype).triu(1)
    kept = masked_attention(grouped(query, 2), key, value, mask)
    with torch.no_grad():
        assert torch.equal(masked_attention(grouped(query, 2), key, value, mask), kept)


def test_gradient_checkpointing_has_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_attention, "BLOCK", 7)
    lm = tiny_lm("llama", 50).to(torch.bfloat16).train()
    use_blockwise_attention(lm)
    model = ActorCritic(lm, tiny_model("llama").heads)
    gradients = []
    for _ in range(2):
        torch.autograd.backward(
            model.hidden_states(torch.arange(40).view(2, 20), use_cache=False).float().square().sum()
        )
        gradients.append({n: p.grad.clone() for n, p in lm.named_parameters() if p.grad is not None})
        model.zero_grad()
        model.enable_gradient_checkpointing()
    assert gradients[0] and all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())
