"""Start a command in a clean and in a planted folder, and compare the results."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.result import Result
from benchmarks.isolation import planted, traced
from benchmarks.isolation.starts import Start
from games.files import cache_folder

FOLDERS = ("clean", "planted")
TIMES = re.compile(
    r"\d+(\.\d+)?(e-?\d+)?( ?(ms|s|seconds|minutes)\b)|\"[^\"]*(second|minutes|peak_memory)[^\"]*\": [^,\n]*"
)


class Place:
    """One of the two folders in which commands start, "clean" or "planted". The folder `out` holds their outputs."""

    def __init__(self, base: Path, name: str) -> None:
        self.base, self.name, self.record, self.out = base, name, base / "record", base / name
        (cache := self.out / "cache").mkdir(parents=True, exist_ok=True)
        model = cache_folder("smollm2-135m-instruct")
        if model.is_dir() and not (cache / model.name).exists():
            (cache / model.name).symlink_to(model)  # its conversion takes half a minute

    def run(self, start: Start, scripts: Mapping[str, str]) -> Result:
        """Run a command, and wait for it."""
        here = self._here(start)
        names = {**scripts, "out": str(self.out), "here": str(here)}

        def filled(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], text)

        further = {name: filled(value) for name, value in start.environment.items()}
        environment = traced.environment(**{"ACTDE_CACHE": str(self.out / "cache")} | further)
        words, log = [filled(word) for word in start.words], self.base / "strace"
        return traced.run(words, here, environment, log, loopback=bool(start.loopback), given=start.given)

    def executed(self) -> list[str]:
        """Return the names of the executed planted modules, or "touch" for a shell command. Delete their record."""
        text = (self.record.read_text() or "touch") if self.record.exists() else ""
        self.record.unlink(missing_ok=True)
        return sorted(set(text.split()))

    def figures(self) -> dict[str, bytes]:
        """Return the content of all figures that the commands have drawn so far, by their path."""
        paths = (path for path in self.out.rglob("*.svg") if "cache" not in path.parts)
        return {str(path.relative_to(self.out)): path.read_bytes() for path in paths}

    def _here(self, start: Start) -> Path:
        kind = "_packages" if self.name == "planted" and start.packages else ""
        folder = self.base / f"{self.name}-files{kind}"
        if folder.is_dir():
            return folder
        if self.name == "clean":
            planted.write_named(folder)
        else:
            planted.plant(folder, self.record, packages=start.packages)
        return folder


def outcome(start: Start, places: Sequence[Place], scripts: Mapping[str, str]) -> dict[str, Any]:
    """Start a command in both folders. Return a row with its outcome, its allowed connections, and what went wrong."""
    results, wrong = list[Result](), list[str]()
    for place in places:
        results.append(place.run(start, scripts))
        wrong += [f"{place.name}: {what}" for what in _problems(start, results[-1], place.executed())]
    shown = [_shown(one, place) for one, place in zip(results, places, strict=True)]
    if shown[0] != shown[1]:
        wrong.append(f"another output: {shown[0][-1500:]}\n--- planted:\n{shown[1][-1500:]}")
    before, after = (place.figures() for place in places)
    wrong += [f"another figure: {name}" for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    row: dict[str, Any] = {"outcome": "failed" if wrong else "refused" if start.refused else "exact"}
    if start.loopback:
        found = {tuple(each.split(" port ")) for one in results for each in one.connections}
        addresses = {"a name server" if port == "53" else address for address, port in found}
        row |= {"connects to this machine": start.loopback, "addresses": sorted(addresses)}
    return row | ({"wrong": wrong} if wrong else {})


def _problems(start: Start, result: Result, executed: Sequence[str]) -> list[str]:
    wrong = [f"executed {' '.join(executed)}"] * bool(executed)
    if refused := traced.outside(result.connections) if start.loopback else list(result.connections):
        wrong.append(f"connections: {', '.join(refused)}")
    is_expected = (result.status == 2 and result.is_one_line) if start.refused else result.status == 0
    if "Traceback" in result.err or not is_expected:
        wrong.append(f"status {result.status}: {result.err[-2000:]}")
    return wrong


def _shown(result: Result, place: Place) -> str:
    """Return the output of a command. Fixed words replace times, addresses and the names of the folders."""
    folder = rf"{re.escape(str(place.base))}/{place.name}(-files\w*)?"
    text = re.sub(folder, "FOLDER", result.out + result.err * bool(result.status))
    return TIMES.sub("TIME", re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text))
