"""Terms over the whole vocabulary: values and gradients equal those of autograd, in chunks of any size."""

from typing import Any

import pytest
import torch
from torch import Tensor

from agents.model import vocabulary_terms
from agents.model.logit_transform import LogitTransform
from agents.model.vocabulary_terms import RowFunction, VocabularyTerms, bfloat16_factors
from tests.helpers.models import assert_close

N, D, V = 7, 5, 11


def inputs(*, bias: bool) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Return hidden states, weight and bias as leaves, the chosen tokens, log pi_ref [N, V] and q [N, V]."""
    rng = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    leaves = [normal(N, D), normal(V, D), *([normal(V)] if bias else [])]
    chosen = torch.randint(V, (N,), generator=rng)
    return [leaf.requires_grad_() for leaf in leaves], chosen, normal(N, V).log_softmax(-1), normal(N, V)


def by_autograd(
    leaves: list[Tensor], chosen: Tensor, reference: Tensor, q: Tensor, transform: LogitTransform
) -> list[Tensor]:
    hidden, weight, *bias = leaves
    logprobs = transform(torch.nn.functional.linear(hidden, weight, *bias)).log_softmax(-1)
    p = logprobs.exp()
    return [
        logprobs.gather(1, chosen[:, None])[:, 0],
        -(p * logprobs).sum(-1),
        (p * (logprobs - reference)).sum(-1),
        (p * q).sum(-1),
    ]


def _copy_of(tensor: Tensor) -> RowFunction:
    return lambda rows: tensor[rows].clone()


TRANSFORMS = (
    LogitTransform(),
    LogitTransform(scale=0.25),
    LogitTransform(cap=2.0),
    LogitTransform(scale=3.0, cap=1.5),
)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 3 * V, 100 * V])
def test_values_and_gradients_are_those_of_autograd(
    monkeypatch: pytest.MonkeyPatch, bias: bool, chunk: int, transform: LogitTransform
) -> None:
    monkeypatch.setattr(vocabulary_terms, "CHUNK", chunk)
    leaves, chosen, reference, q = inputs(bias=bias)
    weights = torch.randn(4, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found: list[Any] = []
    for terms in (
        VocabularyTerms.apply(  # type: ignore[no-untyped-call]
            leaves[0], leaves[1], leaves[2] if bias else None, transform, chosen, _copy_of(reference), q.__getitem__
        ),
        by_autograd(leaves, chosen, reference, q, transform),
    ):
        total = sum((weight * term).sum() for weight, term in zip(weights, terms, strict=True))
        found.append((terms, torch.autograd.grad(total, leaves)))
    (ours, our_gradients), (theirs, their_gradients) = found
    for one, other in zip([*ours, *our_gradients], [*theirs, *their_gradients], strict=True):
        torch.testing.assert_close(one, other)


def test_a_missing_reference_or_q_gives_zeros_and_a_frozen_weight_no_gradient() -> None:
    leaves, chosen, _, _ = inputs(bias=False)
    weight = leaves[1].detach()
    terms = VocabularyTerms.apply(leaves[0], weight, None, LogitTransform(), chosen, None, None)  # type: ignore[no-untyped-call]
    assert not terms[2].any() and not terms[3].any()
    terms[0].sum().backward()
    assert leaves[0].grad is not None and leaves[0].grad.any()


def test_products_of_bfloat16_numbers_are_exact() -> None:
    a, b = (torch.randn(64, 64).bfloat16().float() for _ in range(2))
    before = torch.get_float32_matmul_precision()
    with bfloat16_factors(enabled=True):
        product = a @ b
    assert torch.get_float32_matmul_precision() == before
    assert_close(product.double(), a.double() @ b.double())
