"""What the processor computes fast."""

SLOW_BFLOAT16 = "this processor computes slowly in bfloat16, because it has no AVX-512; --dtype float32 is faster"


def is_fast_in_bfloat16() -> bool:
    """Return whether torch has fast matrix products in bfloat16 here: on an accelerator, or on a CPU with AVX-512.

    On other CPUs, an update of SmolLM2 takes ten times as long as in float32 or longer (NOTES.md).
    """
    import torch

    return torch.accelerator.is_available() or torch.backends.cpu.get_cpu_capability() == "AVX512"
