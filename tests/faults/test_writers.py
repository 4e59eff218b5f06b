"""Two commands that write the same output: the second one is refused in one line and changes nothing."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from experiments import program
from experiments.compare import curves
from experiments.release import licences, ship
from experiments.rlhf import base_rates
from games.errors import FilesError
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


@contextmanager
def held(folder: Path, *files: str) -> Iterator[None]:
    """Let another process hold the lock of a folder, or of files in it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *files],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    yield
    holder.communicate("")


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
    with held(out, *files):
        before = sorted(out.iterdir())
        status, printed, errors = command(*(word.replace("OUT", str(out)) for word in words))
        assert (status, printed) == (2, "")
        assert errors.startswith(f"error: another process is writing {out.joinpath(*files)}; wait for it")
        assert errors.count("\n") == 1
        assert sorted(out.iterdir()) == before
    assert not out.exists()


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (partial(program.run, licences.main), ("--out", "OUT")),
        (partial(program.run, ship.main), ("run", "OUT", "--game", "bandit")),
        (curves.main, ("run", "--out", "OUT")),
    ],
)
def test_a_second_program_that_writes_a_file_is_refused(
    main: Callable[[], None],
    words: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out" / "result"
    monkeypatch.setattr(sys, "argv", ["program", *(word.replace("OUT", str(out)) for word in words)])
    with held(out.parent, out.name), pytest.raises(SystemExit) as ended:
        main()
    assert f"error: another process is writing {out}; wait for it" in capsys.readouterr().err + str(ended.value)


def test_a_second_measurement_of_base_rates_is_refused(tmp_path: Path) -> None:
    with (
        held(tmp_path, "base_rates.md"),
        pytest.raises(FilesError, match=r"another process is writing .*base_rates\.md"),
    ):
        base_rates.main(tmp_path)
