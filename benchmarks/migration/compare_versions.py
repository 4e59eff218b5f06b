"""Check that two versions do the same: `python -m benchmarks.migration.compare_versions BEFORE AFTER`.

BEFORE and AFTER have the form PYTHON:CHECKOUT. Every scenario (scenarios.py) runs in both checkouts through the command
line. In AFTER, the scenario's options have their new names. All that a scenario writes and prints is compared value by
value, bit by bit. The exit status is 1 if there is a difference that the key map (key_map.py) does not explain.

The outputs of BEFORE are stored in --work. They are reused while the commit of BEFORE and the commands stay the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.migration.key_map import KeyMap, command
from benchmarks.migration.outputs import differences, documents
from benchmarks.migration.scenarios import SCENARIOS, words

SHOWN = 3
"""Maximum number of printed differences per file. The scenario's differences.txt contains all differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A checkout and the Python interpreter that runs it."""

    python: str
    checkout: Path
    work: Path
    """Folder of the version's outputs and cache."""

    @classmethod
    def parse(cls, text: str, work: Path) -> "Version":
        python, _, checkout = text.partition(":")
        # resolving the interpreter's symbolic link would lead out of its virtual environment
        return cls(python=str(Path(python).absolute()), checkout=Path(checkout).resolve(), work=work)

    @property
    def commit(self) -> str:
        """Commit of the checkout, followed by "with changes" if files differ from the commit."""
        git = ("git", "-C", str(self.checkout))
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")

    def call(self, arguments: list[str], errors: Path) -> tuple[int, str]:
        """Run a command, and write its standard error to `errors`. Return a tuple (exit status, standard output)."""
        environment = os.environ | {
            "ACTDE_CACHE": str(self.work / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.checkout),
            "COLUMNS": "200",
        }
        with errors.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [self.python, "cli.py", *arguments],
                cwd=self.checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                check=False,
            )
        return done.returncode, done.stdout


def run(version: Version, scenario: str, names: KeyMap) -> list[str]:
    """Run the commands of a scenario in the folder `work/SCENARIO`.

    The first failure ends the scenario. The returned list describes this failure, and is empty if there is none.
    """
    folder = version.work / scenario
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "log").mkdir()
    for number, line in enumerate(SCENARIOS[scenario]):
        asked = [word.replace("{out}", str(folder / "out")) for word in words(line)]
        arguments, log = names.arguments(asked), folder / "log" / str(number)
        status, printed = version.call(arguments, log.with_suffix(".stderr"))
        if "--json" in asked and printed:
            log.with_suffix(".json").write_text(printed, encoding="utf-8")
            log.with_suffix(".kind").write_text(_kind(asked), encoding="utf-8")
        if status:
            return [_failure(status, command(arguments), log.with_suffix(".stderr"), asked, arguments)]
    (folder / "done.json").write_text(json.dumps([version.commit, SCENARIOS[scenario]]), encoding="utf-8")
    return []


def known(version: Version, names: KeyMap) -> dict[str, str]:
    """Return the renamed options whose new names `train` of this version accepts: old name -> new name."""
    version.work.mkdir(parents=True, exist_ok=True)
    _, text = version.call(["train", "--help"], version.work / "help.stderr")
    return {old: new for old, new in names.options.items() if new in text.split()}


def is_kept(version: Version, scenario: str) -> bool:
    """Return whether the version's folder already has the outputs of a scenario, for this commit and these commands."""
    path = version.work / scenario / "done.json"
    return path.is_file() and json.loads(path.read_text()) == [version.commit, SCENARIOS[scenario]]


def _kind(asked: list[str]) -> str:
    """Return the kind of the document that a command prints, as the key map names it, such as `play --json`."""
    return f"{asked[0]} --card --json" if "--card" in asked else f"{asked[0]} --json"


def _failure(status: int, line: str, errors: Path, asked: list[str], arguments: list[str]) -> str:
    text = errors.read_text(encoding="utf-8").strip().splitlines() or ["no message"]
    renamed = [f"{old} -> {new}" for old, new in zip(asked, arguments, strict=True) if old != new]
    hint = ""
    if "option" in text[-1].lower():
        hint = f"; renamed here: {', '.join(renamed) or 'nothing'}: see `options` in renamed_keys.json"
    return f"{line}\n  ends with status {status}: {text[-1]}{hint}"


def compare(before: Version, after: Version, scenario: str, names: KeyMap, *, partly: bool) -> list[str]:
    """Run a scenario in both versions and return the differences. Stored outputs of BEFORE are reused."""
    if not is_kept(before, scenario):
        failed = run(before, scenario, KeyMap.nothing())
        if failed:
            return [f"BEFORE: {line}" for line in failed]
    failed = run(after, scenario, names)
    if failed:
        return [f"AFTER: {line}" for line in failed]
    old = documents(before.work / scenario, before.checkout, names, translated=True)
    new = documents(after.work / scenario, after.checkout, names, translated=partly)
    return differences(old, new, names)


def main() -> int:
    """Compare all scenarios, or only the named scenarios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="PYTHON:CHECKOUT")
    parser.add_argument("after", metavar="PYTHON:CHECKOUT", nargs="?", help="left out: only record BEFORE")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may be repeated; all by default")
    parser.add_argument("--work", type=Path, default=Path("/tmp/compare-versions"), help="folder of the outputs")
    parser.add_argument("--no-map", action="store_true", help="AFTER has the old names")
    parser.add_argument("--partly", action="store_true", help="AFTER may have options and keys under old names still")
    given = parser.parse_args()
    # sums depend on the number of threads, which a command may derive from the number of cores: allow one core only
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    work = given.work.resolve()
    names = KeyMap.nothing() if given.no_map else KeyMap.load()
    before = Version.parse(given.before, work / "before")
    failures = 0
    if given.after:
        slug = given.after.partition(":")[2].strip("/").replace("/", "-")
        after = Version.parse(given.after, work / f"after-{slug}")
        shutil.rmtree(after.work / "cache", ignore_errors=True)
        print(f"BEFORE {before.commit}, AFTER {after.commit}")
        if given.partly:
            names.options = known(after, names)
    for scenario in given.scenario or SCENARIOS:
        begin = time.monotonic()
        if not given.after:
            lines = [] if is_kept(before, scenario) else run(before, scenario, KeyMap.nothing())
        else:
            lines = compare(before, after, scenario, names, partly=given.partly)
            (after.work / scenario / "differences.txt").write_text("".join(f"{line}\n" for line in lines))
        failures += len(lines)
        print(f"{scenario}: {len(lines)} differences ({time.monotonic() - begin:.0f} s)", flush=True)
        printed = Counter[str]()
        for line in lines:
            printed[name := line.partition(": ")[0]] += 1
            if printed[name] <= SHOWN:
                print(f"  {scenario}/{line}")
        if printed.total() > sum(min(count, SHOWN) for count in printed.values()):
            print(f"  ... all of them: {after.work / scenario / 'differences.txt'}")
    print("the same" if not failures else f"{failures} differences")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
