"""Checks whether this machine is fast in bfloat16."""

SLOW_BFLOAT16 = "this processor computes slowly in bfloat16, because it has no AVX-512; --dtype float32 is faster"


def is_fast_in_bfloat16() -> bool:
    """Return whether this machine has an accelerator, or a CPU with AVX-512."""
    import torch

    return torch.accelerator.is_available() or cpu_is_fast_in_bfloat16()


def cpu_is_fast_in_bfloat16() -> bool:
    """Return whether this CPU has AVX-512."""
    import torch

    return torch.backends.cpu.get_cpu_capability() == "AVX512"
