"""The transformation between a decoder's lm_head and its logits: a scale and a soft cap."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from agents.protocol import AgentError

SMALL, LARGE = 0.01, 1e4
MAGNITUDES = (SMALL, 1.0, 10.0, 50.0, LARGE)
"""Magnitudes of the lm_head's output at which the transformation is measured. A soft cap changes only large outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTransform:
    """Maps the output z of an lm_head to logits: cap * tanh(scale * z / cap), or scale * z if there is no cap."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        scaled = z if self.scale == 1.0 else z * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def derivative(self, logits: Tensor) -> Tensor | float:
        """Return d logits / dz, computed from the logits."""
        return self.scale if self.cap is None else self.scale * (1 - (logits / self.cap).square())


@torch.no_grad()
def measure_transform(lm: Any, decoder: Any, head: Any, *, tolerance: float) -> LogitTransform:
    """Measure which transformation a causal language model applies to the output of its lm_head.

    The function runs a forward pass, in which it replaces the last hidden states by states of several magnitudes. It
    compares the logits with the lm_head's outputs. A scale or cap that is measured from bfloat16 logits is imprecise.
    If a number in the model's configuration, or the reciprocal of one, is close enough, it replaces the measured value.

    Args:
        lm: causal language model in evaluation mode, with its decoder and its lm_head as `decoder` and `head`.
        tolerance: allowed relative error of the logits.

    Raises:
        AgentError: the model transforms its logits in a way that `LogitTransform` does not describe.
    """
    weight = head.weight
    wave = torch.sin(torch.arange(weight.shape[1], dtype=torch.float32, device=weight.device))
    unit = wave / linear(wave, weight.float()).abs().max()
    states = (torch.tensor(MAGNITUDES, device=weight.device)[:, None] * unit).to(weight.dtype)

    def replace(module: Any, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = states[None]
        return output

    hook = decoder.register_forward_hook(replace)
    tokens = torch.zeros(1, len(MAGNITUDES), dtype=torch.int64, device=weight.device)
    try:
        logits = lm(input_ids=tokens, use_cache=False).logits[0].float()
    finally:
        hook.remove()
    z = linear(states.float(), weight.float(), None if head.bias is None else head.bias.float())
    numbers = [value for value in vars(lm.config.get_text_config()).values() if isinstance(value, int | float)]
    scale = _nearest(float((logits[0] @ z[0]) / (z[0] @ z[0])), [1.0, *numbers], tolerance)
    cap = None
    if float(logits[-1].abs().max()) < 0.9 * abs(scale) * float(z[-1].abs().max()):
        cap = _nearest(float(logits[-1].abs().max()), numbers, tolerance)
    transform = LogitTransform(scale=scale, cap=cap)
    error = ((transform(z) - logits).norm(dim=1) / logits.norm(dim=1)).max()
    if not float(error) < tolerance:
        raise AgentError(
            f"{type(lm).__name__} transforms its logits after the lm_head; "
            "expected a scale or a soft cap (tanh) at most, choose another decoder"
        )
    return transform


def _nearest(value: float, numbers: Iterable[float], tolerance: float) -> float:
    """Return the number or reciprocal nearest to `value`. Return `value` if none is within the relative `tolerance`."""
    candidates = [candidate for x in numbers if x for candidate in (float(x), 1 / x)]
    nearest = min(candidates, key=lambda candidate: abs(candidate - value))
    return nearest if abs(nearest - value) <= tolerance * abs(value) else value
