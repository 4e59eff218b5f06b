"""What the benchmarks share: peers timed in turns, medians with their spread, and the JSON copy.

A ratio is taken within a round, between two times measured one after the other, so that a machine that slows down
slows both; what is reported is the median of the rounds' ratios and their extremes. Leaves out what is measured.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import games.files

PACKAGES = ("torch", "transformers", "textworld", "peft", "accelerate")
Times = dict[str, list[float]]
"""Name of a peer -> seconds of each of its rounds."""


def in_turns(peers: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1) -> Times:
    """Seconds, by the clock, of every round of every peer: A, B, A, B ...; `warm` rounds before are not counted.

    A peer that returns a float is believed to have measured itself.
    """
    found: Times = {name: [] for name in peers}
    for number in range(-warm, rounds):
        for name, peer in peers.items():
            begun = time.perf_counter()
            own = peer()
            seconds = own if isinstance(own, float) else time.perf_counter() - begun
            if number >= 0:
                found[name].append(seconds)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and extremes."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios(values: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Median and extremes of the rounds' ratios, values / base."""
    return summary([value / one for value, one in zip(values, base, strict=True)])


def shown(found: Mapping[str, float], digits: int = 2) -> str:
    """A summary in a table: the median, and the extremes in brackets."""
    median, least, most = (found[name] for name in ("median", "least", "most"))
    return f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def parser(about: str | None) -> argparse.ArgumentParser:
    """A command line with what every benchmark understands: --threads, --rounds and --out."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=cores(), help="of torch, and of each peer; default: every core")
    made.add_argument("--rounds", type=int, default=3, help="measured rounds of each, in turns")
    made.add_argument("--out", type=Path, help="also write the numbers here, as JSON")
    return made


def begin(threads: int) -> None:
    """Let torch use so many threads."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)


def numbers(text: str) -> list[int]:
    """A list on the command line: "5,20,40"."""
    return [int(number) for number in text.split(",")]


def document(name: str, options: argparse.Namespace, arguments: Sequence[str] | None, **found: Any) -> dict[str, Any]:
    """What a benchmark found, with the command, the machine and the versions."""
    given = sys.argv[1:] if arguments is None else arguments
    about = {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *given]),
        "settings": {key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    return {"about": about, **found}


def write(path: Path | None, data: Mapping[str, Any]) -> None:
    """The JSON copy, where one is asked for; numbers with six digits."""
    if path is not None:
        games.files.atomic_write(path, json.dumps(_rounded(data), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _version(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None
