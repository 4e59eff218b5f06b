"""Two commands that write the same output: the second one is refused in one line and changes nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import ROOT
from tests.conftest import Command

HOLD = """
import sys
from pathlib import Path
from games.files import exclusive
with exclusive(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""
TINY = ("--game", "bandit", "--episodes", "4", "--parallel", "4", "--iterations", "1")


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("compare", "--out", "OUT", *TINY), ()),
        (("reproduce", "bandit", "--quick", "--out", "OUT"), ()),
        (("evaluate", "--card", "--agent", "random", "--tasks", "coin", "--out", "OUT/card.md"), ("card.md",)),
        (("make-pairs", "--game", "completion", "--judge", "length", "--out", "OUT/pairs.jsonl"), ("pairs.jsonl",)),
        (("train-reward", "--pairs", "pairs.jsonl", "--out", "OUT/rm"), ("rm",)),
    ],
)
def test_the_second_writer_is_refused(
    words: Sequence[str], files: Sequence[str], tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out), *files],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    before = sorted(out.iterdir())
    status, printed, errors = command(*(word.replace("OUT", str(out)) for word in words))
    assert (status, printed) == (2, "")
    assert errors.startswith(f"error: another process is writing {out.joinpath(*files)}; wait for it")
    assert errors.count("\n") == 1
    assert sorted(out.iterdir()) == before
    holder.communicate("")
    assert not out.exists()
