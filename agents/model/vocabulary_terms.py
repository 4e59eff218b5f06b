"""Log-probability, entropy, KL and expected q over the whole vocabulary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from agents.model.logit_transform import LogitTransform

CHUNK = 2**22
"""Number of logits per chunk, small enough for the cache of a CPU."""

RowFunction = Callable[[slice], Tensor]
"""Maps a slice of the N choices to a tensor with one row per choice."""


class VocabularyTerms(torch.autograd.Function):
    """Log-probability, entropy, KL and expected q of N choices among V tokens.

    The backward pass can run only once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        transform: LogitTransform,
        chosen: Tensor,
        reference: RowFunction | None,
        q: RowFunction | None,
    ) -> tuple[Tensor, ...]:
        """Return four tensors [N]: log pi(chosen), entropy, KL(pi || pi_ref) and expected q.

        The function `reference` computes log pi_ref.
        """
        columns, ctx.stored, ctx.transform = [], [], transform
        for rows in _chunks(hidden, weight):
            logits = transform(linear(hidden[rows], weight, bias))
            logprobs = logits.log_softmax(-1)
            logsumexp = None if transform.cap is None else logits[:, :1] - logprobs[:, :1]
            p = logprobs.exp()
            log_ratio = None if reference is None else reference(rows).neg_().add_(logprobs)  # log(p / r)
            q_values = None if q is None else q(rows)
            terms = (logprobs.gather(1, chosen[rows, None])[:, 0], -torch.linalg.vecdot(p, logprobs))
            sums = (p.new_zeros(len(p)) if x is None else torch.linalg.vecdot(p, x) for x in (log_ratio, q_values))
            columns.append((*terms, *sums))
            if any(ctx.needs_input_grad):
                ctx.stored.append((logprobs, logsumexp, log_ratio, q_values))
        results = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        ctx.save_for_backward(hidden, weight, bias, chosen, *results[1:])
        return results

    # With logits z, p = softmax(z), chosen token a, reference probabilities r, the derivatives by z_j are:
    # log p_a: 1(j = a) - p_j
    # H = -sum p log p: -p_j (log p_j + H)
    # K = sum p log(p / r): p_j (log(p_j / r_j) - K)
    # E = sum p q: p_j (q_j - E)
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, chosen, entropy, kl, expected_q = ctx.saved_tensors
        logprob_grad, entropy_grad, kl_grad, q_grad = (grad.unsqueeze(1) for grad in grads)
        constant = (
            -logprob_grad - entropy_grad * entropy[:, None] - kl_grad * kl[:, None] - q_grad * expected_q[:, None]
        )
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        bias_grad = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for rows, (logprobs, logsumexp, log_ratio, q_values) in zip(_chunks(hidden, weight), ctx.stored, strict=True):
            factor = torch.addcmul(constant[rows], logprobs, -entropy_grad[rows])  # the derivative is p_j * factor_j
            for x, grad in ((log_ratio, kl_grad), (q_values, q_grad)):
                if x is not None:
                    factor.addcmul_(x, grad[rows])
            slope = ctx.transform.derivative(logprobs if logsumexp is None else logprobs + logsumexp)
            logit_grad = factor.mul_(logprobs.exp_()).scatter_add_(1, chosen[rows, None], logprob_grad[rows])
            if ctx.transform != LogitTransform():
                logit_grad *= slope
            hidden_grad[rows] = logit_grad @ weight
            if weight_grad is not None:
                weight_grad.addmm_(logit_grad.T, hidden[rows])
            if bias_grad is not None:
                bias_grad += logit_grad.sum(0)
        del ctx.stored
        return hidden_grad, weight_grad, bias_grad, None, None, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    size = max(1, CHUNK // len(weight))
    return (slice(start, start + size) for start in range(0, len(hidden), size))


@contextmanager
def bfloat16_factors(*, enabled: bool) -> Iterator[None]:
    """Within the context, let float32 matrix products use bfloat16 if `enabled` is True."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if enabled else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
