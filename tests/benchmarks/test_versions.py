"""A comparison of two versions misses no difference."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.versions.compare import Version, compare
from benchmarks.versions.outputs import Values, differences, documents
from benchmarks.versions.scenarios import SCENARIOS, words


def side(folder: Path, *, metrics: dict[str, Any], files: dict[str, Any]) -> dict[str, Values]:
    """Write a run's metrics and other files to the folder of a scenario, and return what is compared."""
    (folder / "out" / "run").mkdir(parents=True)
    (folder / "out" / "run" / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")
    for name, content in files.items():
        (folder / "out" / "run" / name).write_text(json.dumps(content))
    return documents(folder, folder)


@pytest.mark.parametrize(
    ("metrics", "files", "found"),
    [
        ({"loss": 0.1, "seconds": 9.0}, {}, []),
        ({"loss": 0.1, "seconds": 9.0}, {"a.md": "other prose"}, []),
        ({"loss": 0.1, "seconds": 9.0}, {"agent.json": {"digest": "1", "seed": 1}}, []),
        ({"loss": 0.1000000001, "seconds": 9.0}, {}, ["run/metrics.jsonl: 0/loss: 0.1 became 0.1000000001"]),
        ({"loss": 0.1, "seconds": 9.0}, {"one.json": [1.0, {}]}, ["run/one.json: 0: 1 became 1.0"]),
        (
            {"loss": 0.1, "seconds": 9.0},
            {"agent.json": {"digest": "1", "seed": 2}},
            ["run/agent.json: seed: 1 became 2"],
        ),
        (
            {"loss": 0.1, "seconds": 9.0},
            {"one.json": {"0": 1, "1": {}}},
            [
                f"run/one.json: {text}"
                for text in ("0: additional, is 1", "0: missing, was 1", "1: additional, is {}", "1: missing, was {}")
            ],
        ),
        ({"loss": 0.1}, {}, ["run/metrics.jsonl: 0/seconds: missing, was 1.0"]),
        ({"loss": 0.1, "seconds": 1, "device": "gpu"}, {}, ['run/metrics.jsonl: 0/device: additional, is "gpu"']),
        ({"loss": 0.1, "seconds": 9.0}, {"more.json": 1}, ["run/more.json: only the new version wrote it"]),
    ],
)
def test_every_difference_is_found(
    tmp_path: Path, metrics: dict[str, Any], files: dict[str, Any], found: list[str]
) -> None:
    shared = {"one.json": [1, {}], "a.md": "prose", "agent.json": {"digest": "0", "seed": 1}}
    before = side(tmp_path / "before", metrics={"loss": 0.1, "seconds": 1.0}, files=shared)
    assert differences(before, side(tmp_path / "after", metrics=metrics, files=shared | files)) == found


def test_a_file_that_is_no_longer_written_is_a_difference(tmp_path: Path) -> None:
    before = side(tmp_path / "before", metrics={}, files={"one.json": 1})
    after = side(tmp_path / "after", metrics={}, files={})
    assert differences(before, after) == ["run/one.json: the new version did not write it"]


def test_tensors_are_compared_bit_by_bit(tmp_path: Path) -> None:
    def values(dtype: str, data: bytes) -> dict[str, Values]:
        header = json.dumps({"step": {"dtype": dtype, "shape": [2], "data_offsets": [0, len(data)]}}).encode()
        folder = tmp_path / f"{dtype}-{data.hex()}"
        (folder / "out").mkdir(parents=True, exist_ok=True)
        (folder / "out" / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
        return documents(folder, tmp_path)

    old = values("F32", b"12345678")
    assert differences(old, values("F32", b"12345678")) == []
    assert [line.partition(": ")[2][:4] for line in differences(old, values("F32", b"12345679"))] == ["step"]
    assert len(differences(old, values("I32", b"12345678"))) == 1


CLI = """import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
{statement}
print(json.dumps({{"out": str(out), "value": {value}}}))
"""


@pytest.mark.parametrize(
    ("statement", "value", "found"),
    [
        ("", 1, []),
        ("", 2, ["0: train --json: value: 1 became 2"]),
        ("sys.exit()", 1, ["0: train --json: the new version did not write it"]),
        ("sys.exit('error: no')", 1, ["AFTER: python cli.py train --json --out"]),
    ],
)
def test_two_versions_are_compared_through_their_command_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, value: int, found: list[str]
) -> None:
    monkeypatch.setitem(SCENARIOS, "fake", ["train --json --out {out}"])
    versions = []
    for name, *parts in (("before", "", 1), ("after", statement, value)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "cli.py").write_text(CLI.format(statement=parts[0], value=parts[1]))
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
            subprocess.run(["git", "-C", str(folder), *command], check=True)
        versions.append(Version.parse(f"{sys.executable}:{folder}", tmp_path / f"work-{name}"))
    assert_starts(compare(versions[0], versions[1], "fake"), found)
    kept = tmp_path / "work-before" / "fake" / "log" / "0.json"
    kept.write_text(kept.read_text().replace('"value": 1', '"value": 3'))  # BEFORE is not run again
    assert_starts(
        compare(versions[0], versions[1], "fake"), found if statement else [f"0: train --json: value: 3 became {value}"]
    )


def assert_starts(lines: list[str], starts: list[str]) -> None:
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_a_game_of_several_parts_is_one_word() -> None:
    assert words("play --game a?x=1 + b --json") == ["play", "--game", "a?x=1 + b", "--json"]
