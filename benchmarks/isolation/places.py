"""Start a command in a clean and in a planted folder, and compare."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.isolation import planted, traced
from benchmarks.isolation.starts import Start
from games.files import cache_folder

FOLDERS = ("clean", "planted")
TIMES = re.compile(r"\d+(\.\d+)?(e-?\d+)?( ?(ms|s|seconds|minutes)\b)|\"[^\"]*(second|minutes)[^\"]*\": [^,\n]*")


class Place:
    """One of the two current folders, with a folder `out` for the outputs of its commands."""

    def __init__(self, base: Path, name: str) -> None:
        self.base, self.name, self.mark, self.out = base, name, base / "mark", base / name
        (cache := self.out / "cache").mkdir(parents=True, exist_ok=True)
        model = cache_folder("smollm2-135m-instruct")
        if model.is_dir() and not (cache / model.name).exists():
            (cache / model.name).symlink_to(model)  # its conversion takes half a minute

    def run(self, start: Start, scripts: Mapping[str, str]) -> traced.Done:
        """Run a command, and wait for it."""
        here = self._here(start)
        names = {**scripts, "out": str(self.out), "here": str(here)}

        def filled(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], text)

        further = {name: filled(value) for name, value in start.environment.items()}
        environment = traced.environment(**{"ACTDE_CACHE": str(self.out / "cache")} | further)
        words, log = [filled(word) for word in start.words], self.base / "strace"
        return traced.run(words, here, environment, log, loopback=bool(start.loopback), given=start.given)

    def marks(self) -> list[str]:
        """Return the names of executed modules, and delete the marks."""
        text = self.mark.read_text() if self.mark.exists() else ""
        self.mark.unlink(missing_ok=True)
        return sorted(set(text.split()))

    def figures(self) -> dict[str, bytes]:
        """Return the content of all figures that the commands have drawn."""
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
            planted.plant(folder, self.mark, packages=start.packages)
        return folder


def verdict(start: Start, places: Sequence[Place], scripts: Mapping[str, str]) -> dict[str, Any]:
    """Start a command in both folders. Return its verdict, its connections to this machine, and what failed."""
    done, wrong = [], list[str]()
    for place in places:
        done.append(place.run(start, scripts))
        wrong += [f"{place.name}: {what}" for what in _faults(start, done[-1], place.marks())]
    shown = [_shown(one, place) for one, place in zip(done, places, strict=True)]
    if shown[0] != shown[1]:
        wrong.append(f"another output: {shown[0][-1500:]}\n--- planted:\n{shown[1][-1500:]}")
    before, after = (place.figures() for place in places)
    wrong += [f"another figure: {name}" for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    row: dict[str, Any] = {"verdict": "failed" if wrong else "refused" if start.refused else "exact"}
    if start.loopback:
        found = {tuple(each.split(" port ")) for one in done for each in one.connections}
        addresses = {"a name server" if port == "53" else address for address, port in found}
        row |= {"connects to this machine": start.loopback, "addresses": sorted(addresses)}
    return row | ({"wrong": wrong} if wrong else {})


def _faults(start: Start, done: traced.Done, marks: Sequence[str]) -> list[str]:
    """Return what a command did that it must not do."""
    wrong = [f"executed {' '.join(marks)}"] * bool(marks)
    if refused := done.outside if start.loopback else list(done.connections):
        wrong.append(f"connections: {', '.join(refused)}")
    one_line = done.status == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1
    if "Traceback" in done.err or not (one_line if start.refused else done.status == 0):
        wrong.append(f"status {done.status}: {done.err[-2000:]}")
    return wrong


def _shown(done: traced.Done, place: Place) -> str:
    """Return the output of a command without times, addresses and the names of its folders."""
    text = re.sub(
        rf"{re.escape(str(place.base))}/{place.name}(-files\w*)?", "FOLDER", done.out + done.err * bool(done.status)
    )
    return TIMES.sub("TIME", re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text))
