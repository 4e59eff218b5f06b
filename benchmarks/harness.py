"""Common tools of the benchmarks: alternating measurements, medians with extremes, and JSON output.

A peer is one of the compared implementations. A ratio divides two times of the same round, so a machine that slows down
affects both times. Reports contain the median and the extremes of the ratios over all rounds.
"""

import argparse
import contextlib
import json
import platform
import re
import shlex
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from games.files import atomic_write
from games.worker_pool import available_cpus

PACKAGES = ("torch", "transformers", "textworld", "peft", "accelerate")
Times = dict[str, list[float]]  # peer -> seconds of each measured round


def alternate(peers: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1) -> Times:
    """Run all peers in every round. Return their wall-clock seconds, or what a peer returns, if this is a float.

    The first `warm` rounds are not measured.
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
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1].strip()
    return platform.processor()


def parser(about: str | None, *, timed: bool = True, **options: tuple[Any, str]) -> argparse.ArgumentParser:
    """Return a parser with `options`, --out and, if `timed`, --threads and --rounds.

    An option is a tuple (default, help). The default False makes a flag, and a list is written as "5,20,40". A type or
    function in place of the default parses the option, which is then None by default.
    """
    common: dict[str, tuple[Any, str]] = {"out": (Path, "also write the numbers here, as JSON")}
    if timed:
        common["threads"] = (available_cpus(), "threads of torch, and of each peer; default: all cores")
        common["rounds"] = (3, "measured rounds of each")
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, text) in (common | options).items():
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            made.add_argument(flag, action="store_true", help=text)
        elif callable(default):
            made.add_argument(flag, type=default, help=text)
        else:
            kind = numbers if isinstance(default, list) else type(default)
            made.add_argument(flag, type=kind, default=default, help=text)
    return made


def start(about: str | None, arguments: Sequence[str] | None, **options: tuple[Any, str]) -> argparse.Namespace:
    """Parse the command line of a timed benchmark (see `parser`), and set the number of threads and torch's seed."""
    given = parser(about, timed=True, **options).parse_args(arguments)
    begin(given.threads)
    return given


def begin(threads: int) -> None:
    """Set the number of threads and the seed of torch."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)


def numbers(text: str) -> list[int]:
    """Parse a list of numbers such as "5,20,40"."""
    return [int(number) for number in text.split(",")]


def report(name: str, options: argparse.Namespace, arguments: Sequence[str] | None, **results: Any) -> None:
    """Write the results of a benchmark to the file of --out, with its command, the machine and package versions."""
    words = sys.argv[1:] if arguments is None else arguments
    # the names of absolute paths, so that no folders are published
    given = [Path(word).name if Path(word).is_absolute() else word for word in words]
    about = {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *given]),
        "settings": {key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "processor": processor(),
        "cores": available_cpus(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    write(options.out, {"about": about, **results})


def write(path: Path | None, data: Mapping[str, Any]) -> None:
    """Write `data` as JSON, with six significant digits per number. If `path` is None, do nothing."""
    if path is not None:
        atomic_write(path, json.dumps(_rounded(data), indent=1) + "\n")


def read(path: Path | None) -> dict[str, Any]:
    """Return the content of a results file, or {} if there is none."""
    results: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}
    return results


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
