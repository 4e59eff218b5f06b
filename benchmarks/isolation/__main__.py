"""Check that no command executes code that the user did not name, and that none opens a network connection.

    python -m benchmarks.isolation --out benchmarks/isolation.json

Every command starts twice, in a network namespace without interfaces under strace: in a folder with two files of the
user's code, and in the same folder with a planted module for every name that a library may import. A start is *exact* if
the planted folder changes neither its status nor its output. It *failed* if a planted module was executed, if a process
tried to connect to another machine (or to its own, unless `loopback` says why), or if the output differs.

The second part are runs, models and games that name foreign code or hub models (`hostile.py`). The exit status is 1
if any case failed. Needs strace, unshare and ip.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.isolation import planted, traced
from benchmarks.isolation.starts import STARTS, Start

TIMES = re.compile(
    r'\d+(\.\d+)?(e-?\d+)?( ?(s|ms|seconds|minutes)\b)|"[^"]*(second|minutes)[^"]*": [^,\n]*|\d\d:\d\d:\d\d'
)
FOLDERS = ("clean", "planted")


class Place:
    """A folder in which commands start: `here` is the current folder, `out` the folder of outputs."""

    def __init__(self, base: Path, name: str) -> None:
        self.base, self.name, self.mark = base, name, base / "mark"
        self.out = base / name
        (self.out / "cache").mkdir(parents=True)
        self._share_model()

    def _share_model(self) -> None:
        from games.files import cache_folder

        if (model := cache_folder("smollm2-135m-instruct")).is_dir():
            (self.out / "cache" / model.name).symlink_to(model)

    def here(self, start: Start) -> Path:
        """Return the current folder of a start. It is made at first use."""
        if self.name == "clean":
            folder = self.base / "clean-files"
            if not folder.is_dir():
                planted.write_named(folder)
            return folder
        folder = self.base / f"planted-{start.packages}"
        if not folder.is_dir():
            planted.plant(folder, self.mark, packages=start.packages)
        return folder

    def run(self, start: Start, scripts: dict[str, str]) -> traced.Done:
        here = self.here(start)

        def filled(text: str) -> str:
            for name, value in {**scripts, "out": str(self.out), "here": str(here)}.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        further = {name: filled(value) for name, value in start.environment.items()}
        environment = traced.environment(ACTDE_CACHE=str(self.out / "cache"), **further)
        log = self.base / "strace"
        words = [filled(word) for word in start.words]
        return traced.run(words, here, environment, log, loopback=bool(start.loopback), given=start.given)

    def marks(self) -> str:
        """Return the marks of executed modules, and delete them."""
        text = self.mark.read_text() if self.mark.exists() else ""
        self.mark.unlink(missing_ok=True)
        return text


def shown(done: traced.Done, place: Place) -> str:
    """Return the output of a command without times and without the names of its folders."""
    text = done.out.replace(str(place.out), "OUT")
    return TIMES.sub("TIME", re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text))


def verdict(start: Start, places: Sequence[Place], scripts: dict[str, str]) -> dict[str, Any]:
    """Start a command in both folders. Return its verdict, the connections, and what failed."""
    done, outputs, wrong = [], [], []
    for place in places:
        done.append(place.run(start, scripts))
        outputs.append(shown(done[-1], place))
        if marks := place.marks():
            wrong.append(f"in {place.name}, executed: {' '.join(sorted(set(marks.split())))}")
        if refused := done[-1].outside if start.loopback else list(done[-1].connections):
            wrong.append(f"in {place.name}, connections: {', '.join(refused)}")
        if done[-1].status or "Traceback" in done[-1].err:
            wrong.append(f"in {place.name}, status {done[-1].status}: {done[-1].err[-2000:]}")
    if outputs[0] != outputs[1]:
        wrong.append(f"another output: {outputs[0][-1500:]}\n--- in planted:\n{outputs[1][-1500:]}")
    row: dict[str, Any] = {"verdict": "failed" if wrong else "exact"}
    if start.loopback:
        ports = sorted({each.rpartition(" port ")[0] for each in done[1].connections})
        row |= {"loopback": start.loopback, "addresses": ports}
    return row | ({"wrong": wrong} if wrong else {})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of starts, separated by commas")
    parser.add_argument("--out", type=Path, help="also write the results here, as JSON")
    parser.add_argument("--work", type=Path, help="folder of all files; it is kept")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(STARTS)
    rows: dict[str, dict[str, Any]] = {}
    base = options.work or Path(tempfile.mkdtemp())
    base.mkdir(exist_ok=True)
    scripts = traced.scripts(base / "bin")
    places = [Place(base, name) for name in FOLDERS]
    for name in names:
        rows[name] = verdict(STARTS[name], places, scripts)
        print(json.dumps({name: rows[name]}), flush=True)
    if options.work is None:
        shutil.rmtree(base)
    counts = Counter(row["verdict"] for row in rows.values())
    total = {"tried": len(rows), **{key: counts[key] for key in ("refused", "exact", "failed")}}
    print(json.dumps(total))
    harness.write(options.out, harness.document("isolation", options, arguments, total=total, starts=rows))
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
