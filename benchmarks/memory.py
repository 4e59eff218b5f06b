"""Memory of this process as Linux counts it. Needs the standard library alone, so that peers can use it too."""

from pathlib import Path


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return _status("VmRSS")


def peak() -> int:
    """Bytes of memory that this process has held at most, since `forget_peak` or its start."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let `peak` begin anew from what is held now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """A field of this process in bytes. Not `getrusage`, whose maximum a process inherits from who started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"the system does not say {name} of a process; memory is measured on Linux only")
