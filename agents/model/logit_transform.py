"""The function that maps an lm_head's output to logits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from agents.protocol import AgentError

SMALL, LARGE = 0.01, 1e4
MAGNITUDES = (SMALL, 1.0, 10.0, 50.0, LARGE)
"""Magnitudes of the lm_head's output, at which the transform is measured. A soft cap changes only large outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTransform:
    """Maps an lm_head's output z to the logits cap * tanh(scale * z / cap).

    If `cap` is None, the logits are scale * z.
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        scaled = z if self.scale == 1.0 else z * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def derivative(self, logits: Tensor) -> Tensor | float:
        """Return d logits / dz, given the logits."""
        return self.scale if self.cap is None else self.scale * (1 - (logits / self.cap).square())


@torch.no_grad()
def measure_transform(lm: Any, decoder: Any, lm_head: Any, *, tolerance: float) -> LogitTransform:
    """Fit a logit transform to a language model. Raise AgentError if the relative error exceeds `tolerance`."""
    weight = lm_head.weight
    wave = torch.sin(torch.arange(weight.shape[1], dtype=torch.float32, device=weight.device))
    unit = wave / linear(wave, weight.float()).abs().max()
    states = (torch.tensor(MAGNITUDES, device=weight.device)[:, None] * unit).to(weight.dtype)

    def replace_states(module: Any, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = states[None]
        return output

    hook = decoder.register_forward_hook(replace_states)
    tokens = torch.zeros(1, len(MAGNITUDES), dtype=torch.int64, device=weight.device)
    try:
        logits = lm(input_ids=tokens, use_cache=False).logits[0].float()
    finally:
        hook.remove()
    z = linear(states.float(), weight.float(), None if lm_head.bias is None else lm_head.bias.float())
    # logits in bfloat16 are imprecise, so a close number of the configuration replaces a measured one
    config_numbers = [value for value in vars(lm.config.get_text_config()).values() if isinstance(value, int | float)]
    scale = _nearest(float((logits[0] @ z[0]) / (z[0] @ z[0])), [1.0, *config_numbers], tolerance)
    cap = None
    if float(logits[-1].abs().max()) < 0.9 * abs(scale) * float(z[-1].abs().max()):
        cap = _nearest(float(logits[-1].abs().max()), config_numbers, tolerance)
    transform = LogitTransform(scale=scale, cap=cap)
    error = ((transform(z) - logits).norm(dim=1) / logits.norm(dim=1)).max()
    if not float(error) < tolerance:
        raise AgentError(
            f"{type(lm).__name__} transforms its logits after the lm_head; "
            "expected a scale or a soft cap (tanh) at most, choose another decoder"
        )
    return transform


def _nearest(value: float, numbers: Iterable[float], tolerance: float) -> float:
    """Return the nearest number or reciprocal of a number.

    If the relative distance to `value` exceeds `tolerance`, return `value`.
    """
    candidates = [candidate for number in numbers if number for candidate in (float(number), 1 / number)]
    nearest = min(candidates, key=lambda candidate: abs(candidate - value))
    return nearest if abs(nearest - value) <= tolerance * abs(value) else value
