"""Resident memory of this process on Linux. It imports only the standard library, so that peers can use it too."""

from pathlib import Path


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    return _status("VmRSS")


def peak() -> int:
    """Return the peak of this process's memory since `reset_peak` or its start, bytes."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Reset `peak` to the memory held now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Return a field of this process in bytes. (A process inherits the maximum of `getrusage` from its parent.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}; memory is measured on Linux only")
