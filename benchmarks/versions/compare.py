"""Check that two versions write and print the same: `python -m benchmarks.versions.compare BEFORE AFTER`.

BEFORE and AFTER have the form PYTHON:CHECKOUT. Every scenario (scenarios.py) runs in both checkouts through the command
line. All that it writes and prints is compared value by value, bit by bit. The exit status is 1 if there is a
difference.

The outputs of BEFORE are stored in --work. They are reused while the commit of BEFORE and the commands stay the same.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.versions.outputs import differences, documents
from benchmarks.versions.scenarios import SCENARIOS, words

SHOWN = 9
"""Maximum number of printed differences per scenario. The scenario's differences.txt contains all."""


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

    def call(self, arguments: list[str], log: Path) -> int:
        """Run a command, write its output to `log` with the suffixes .stdout and .stderr, and return its status."""
        environment = os.environ | {
            "ACTDE_CACHE": str(self.work / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.checkout),
            "COLUMNS": "200",
        }
        with log.with_suffix(".stdout").open("w") as printed, log.with_suffix(".stderr").open("w") as errors:
            return subprocess.run(
                [self.python, "cli.py", *arguments],
                cwd=self.checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=errors,
                check=False,
            ).returncode

    def run(self, scenario: str) -> list[str]:
        """Run the commands of a scenario in the folder `work/SCENARIO`.

        The first failure ends the scenario. The returned list describes this failure, and is empty if there is none.
        """
        folder = self.work / scenario
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        (folder / "log").mkdir()
        for number, line in enumerate(SCENARIOS[scenario]):
            arguments = [word.replace("{out}", str(folder / "out")) for word in words(line)]
            log = folder / "log" / str(number)
            if status := self.call(arguments, log):
                error = (log.with_suffix(".stderr").read_text().strip().splitlines() or ["no message"])[-1]
                return [f"{shlex.join(['python', 'cli.py', *arguments])}\n  ends with status {status}: {error}"]
            if "--json" in arguments and log.with_suffix(".stdout").stat().st_size:
                log.with_suffix(".stdout").rename(log.with_suffix(".json"))
                kind = f"{arguments[0]}{' --card' if '--card' in arguments else ''} --json"
                log.with_suffix(".kind").write_text(kind, encoding="utf-8")
        (folder / "done.json").write_text(json.dumps([self.commit, SCENARIOS[scenario]]), encoding="utf-8")
        return []

    def has(self, scenario: str) -> bool:
        """Return whether the outputs of a scenario are stored, for this commit and these commands."""
        path = self.work / scenario / "done.json"
        return path.is_file() and json.loads(path.read_text()) == [self.commit, SCENARIOS[scenario]]


def compare(before: Version, after: Version, scenario: str) -> list[str]:
    """Run a scenario in both versions and return the differences. Stored outputs of BEFORE are reused."""
    for version, name in ((before, "BEFORE"), (after, "AFTER")):
        if version is after or not version.has(scenario):
            failed = version.run(scenario)
            if failed:
                return [f"{name}: {line}" for line in failed]
    old, new = (documents(version.work / scenario, version.checkout) for version in (before, after))
    return differences(old, new)


def main() -> int:
    """Compare all scenarios, or only the named scenarios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="PYTHON:CHECKOUT")
    parser.add_argument("after", metavar="PYTHON:CHECKOUT")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may be repeated; all by default")
    parser.add_argument("--work", type=Path, default=Path("/tmp/compare-versions"), help="folder of the outputs")
    given = parser.parse_args()
    # sums depend on the number of threads, which a command may derive from the number of cores: allow one core only
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    work = given.work.resolve()
    before, after = Version.parse(given.before, work / "before"), Version.parse(given.after, work / "after")
    shutil.rmtree(after.work / "cache", ignore_errors=True)
    print(f"BEFORE {before.commit}, AFTER {after.commit}")
    failures = 0
    for scenario in given.scenario or SCENARIOS:
        begin = time.monotonic()
        lines = compare(before, after, scenario)
        (work / f"differences-{scenario}.txt").write_text("".join(f"{line}\n" for line in lines))
        failures += len(lines)
        print(f"{scenario}: {len(lines)} differences ({time.monotonic() - begin:.0f} s)", flush=True)
        for line in lines[:SHOWN]:
            print(f"  {line}")
        if len(lines) > SHOWN:
            print(f"  ... all of them: {work / f'differences-{scenario}.txt'}")
    print("the same" if not failures else f"{failures} differences")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
