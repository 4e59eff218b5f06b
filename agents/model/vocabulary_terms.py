"""Log-probability, entropy, KL and expected q over the whole vocabulary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from agents.model.logit_transform import LogitTransform

CHUNK = 2**22
"""Number of logits per chunk. More would exceed the cache of a CPU."""

Rows = Callable[[slice], Tensor]
"""Maps a slice of the N choices to a tensor with one row per choice."""


class VocabularyTerms(torch.autograd.Function):
    """Log-probability, entropy, KL and expected q of N choices among V tokens.

    The choices are processed in chunks. The backward pass can run only once.

    Let z be the logits, p their softmax and r the reference policy. With H = -sum p log p and K = sum p log(p / r):

        d log p_a / dz_j = 1(j = a) - p_j             dH / dz_j = -p_j (log p_j + H)
        dK / dz_j = p_j (log p_j - log r_j - K)       d sum_i p_i q_i / dz_j = p_j (q_j - sum_i p_i q_i)
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        transform: LogitTransform,
        chosen: Tensor,
        reference: Rows | None,
        q: Rows | None,
    ) -> tuple[Tensor, ...]:
        """Return four tensors [N]: log pi of `chosen`, entropy, KL and expected q.

        `reference` and `q` map a slice of n choices to log pi_ref [n, V] and q [n, V]. The former tensor is
        overwritten.
        """
        columns, ctx.stored, ctx.transform = [], [], transform
        for rows in _chunks(hidden, weight):
            logits = transform(linear(hidden[rows], weight, bias))
            logprobs = logits.log_softmax(-1)
            norm = None if transform.cap is None else logits[:, :1] - logprobs[:, :1]  # log of the sum of exponentials
            p = logprobs.exp()
            ratio = None if reference is None else reference(rows).neg_().add_(logprobs)  # log(p / r)
            q_values = None if q is None else q(rows)
            terms = (logprobs.gather(1, chosen[rows, None])[:, 0], -torch.linalg.vecdot(p, logprobs))
            sums = (p.new_zeros(len(p)) if x is None else torch.linalg.vecdot(p, x) for x in (ratio, q_values))
            columns.append((*terms, *sums))
            if any(ctx.needs_input_grad):
                ctx.stored.append((logprobs, norm, ratio, q_values))
        results = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        ctx.save_for_backward(hidden, weight, bias, chosen, *results[1:])
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, chosen, entropy, kl, expected_q = ctx.saved_tensors
        of_logprob, of_entropy, of_kl, of_q = (grad.unsqueeze(1) for grad in grads)
        constant = -of_logprob - of_entropy * entropy[:, None] - of_kl * kl[:, None] - of_q * expected_q[:, None]
        to_hidden = torch.empty_like(hidden)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for rows, (logprobs, norm, ratio, q_values) in zip(_chunks(hidden, weight), ctx.stored, strict=True):
            factor = torch.addcmul(constant[rows], logprobs, -of_entropy[rows])  # the derivative is p_j * factor_j
            for x, grad in ((ratio, of_kl), (q_values, of_q)):
                if x is not None:
                    factor.addcmul_(x, grad[rows])
            slope = ctx.transform.derivative(logprobs if norm is None else logprobs + norm)
            to_logits = factor.mul_(logprobs.exp_()).scatter_add_(1, chosen[rows, None], of_logprob[rows])
            if ctx.transform != LogitTransform():
                to_logits *= slope
            to_hidden[rows] = to_logits @ weight
            if to_weight is not None:
                to_weight.addmm_(to_logits.T, hidden[rows])
            if to_bias is not None:
                to_bias += to_logits.sum(0)
        del ctx.stored
        return to_hidden, to_weight, to_bias, None, None, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    size = max(1, CHUNK // len(weight))
    return (slice(start, start + size) for start in range(0, len(hidden), size))


@contextmanager
def bfloat16_factors(*, enabled: bool) -> Iterator[None]:
    """Let torch round the factors of float32 matrix products to bfloat16 within the context."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if enabled else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
