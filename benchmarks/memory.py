"""Measure the resident memory of this process on Linux.

The module imports only the standard library, so that peers in other environments can use it.
"""

from pathlib import Path


def resident() -> int:
    """Return the memory that this process holds now, in bytes."""
    return _status("VmRSS")


def peak() -> int:
    """Return the peak of this process's memory in bytes, since the last `reset_peak` or the start of the process."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Reset the peak to the memory that the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Return a field of /proc/self/status in bytes. A process would inherit the maximum of `getrusage`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}; memory is measured on Linux only")
