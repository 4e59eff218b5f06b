"""Detects whether this machine computes fast in bfloat16."""

SLOW_BFLOAT16 = "this processor computes slowly in bfloat16, because it has no AVX-512; --dtype float32 is faster"


def is_fast_in_bfloat16() -> bool:
    """Return whether torch computes bfloat16 matrix products fast on this machine.

    This is assumed of every accelerator, and of CPUs with AVX-512. On other CPUs, an update of SmolLM2 takes at least
    ten times as long in bfloat16 as in float32 (NOTES.md).
    """
    import torch

    return torch.accelerator.is_available() or cpu_is_fast_in_bfloat16()


def cpu_is_fast_in_bfloat16() -> bool:
    """Return whether torch computes bfloat16 matrix products fast on this CPU. This requires AVX-512."""
    import torch

    return torch.backends.cpu.get_cpu_capability() == "AVX512"
