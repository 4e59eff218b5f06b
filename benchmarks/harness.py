"""Common tools of the benchmarks: alternating measurements, medians with extremes, and JSON output.

A peer is one of the compared implementations. A ratio divides two times of the same round, which are measured one after
the other. A machine that slows down therefore affects both times. Reports contain the median and the extremes of the
ratios over all rounds.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import games.files

PACKAGES = ("torch", "transformers", "textworld", "peft", "accelerate")
Times = dict[str, list[float]]
"""Name of a peer -> seconds of each of its measured rounds."""


def alternate(peers: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1) -> Times:
    """Return the wall-clock seconds of every round of every peer. In each round, the peers run one after the other.

    The first `warm` rounds are not measured. If a peer returns a float, this float is used as its time.
    """
    times: Times = {name: [] for name in peers}
    for number in range(-warm, rounds):
        for name, peer in peers.items():
            begun = time.perf_counter()
            own = peer()
            seconds = own if isinstance(own, float) else time.perf_counter() - begun
            if number >= 0:
                times[name].append(seconds)
    return times


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the extremes of the values."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios(values: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Return the median and the extremes of the ratios values / base over all rounds."""
    return summary([value / one for value, one in zip(values, base, strict=True)])


def shown(numbers: Mapping[str, float], digits: int = 2) -> str:
    """Return a summary as text: the median, followed by the extremes in brackets."""
    median, least, most = (numbers[name] for name in ("median", "least", "most"))
    return f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


def processor() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0))


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: --threads, --rounds and --out."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--threads", type=int, default=cores(), help="threads of torch, and of each peer; default: all cores"
    )
    made.add_argument("--rounds", type=int, default=3, help="measured rounds of each")
    made.add_argument("--out", type=Path, help="also write the numbers here, as JSON")
    return made


def begin(threads: int) -> None:
    """Set the number of threads and the seed of torch."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)


def numbers(text: str) -> list[int]:
    """Parse a comma-separated list of the command line, such as "5,20,40"."""
    return [int(number) for number in text.split(",")]


def document(name: str, options: argparse.Namespace, arguments: Sequence[str] | None, **results: Any) -> dict[str, Any]:
    """Return the results of a benchmark together with its command, the machine and the versions of packages."""
    given = [_local(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    about = {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *given]),
        "settings": {key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    return {"about": about, **results}


def _local(word: str) -> str:
    """Return a word of a command. An absolute path is shortened to its name, so that no folders are published."""
    return Path(word).name if Path(word).is_absolute() else word


def write(path: Path | None, data: Mapping[str, Any]) -> None:
    """Write `data` as JSON, with six significant digits per number. If `path` is None, do nothing."""
    if path is not None:
        games.files.atomic_write(path, json.dumps(_rounded(data), indent=1) + "\n")


def stored(name: str) -> Any:
    """Return the content of a results file in this folder."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text("utf-8"))


def filled(text: str) -> str:
    """Return a text as a paragraph of a page, wrapped into lines."""
    return textwrap.fill(text, width=118, break_on_hyphens=False, break_long_words=False)


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
