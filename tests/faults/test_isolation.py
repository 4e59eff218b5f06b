"""Commands among planted modules and without a network execute no foreign code and connect to nothing.

`python -m benchmarks.isolation` is the long form of this test.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.isolation import __main__ as isolation
from benchmarks.isolation import places, traced
from benchmarks.isolation.starts import STARTS, Start

PROGRAMS = ("strace", "unshare")
CONTENT = (
    "settings game=evil", "agent config auto_map", "agent chat template", "agent made_by evil", "trunk config auto_map",
    "trunk tokenizer auto_map", "trunk of pickles only", "--trunk org/evil",
)  # fmt: skip


def _can_isolate() -> bool:
    if not all(map(shutil.which, PROGRAMS)):
        return False
    return subprocess.run(["unshare", "--map-root-user", "--net", "true"], check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not _can_isolate(), reason="strace or network namespaces are missing")


def outcome(start: Start, base: Path) -> dict[str, object]:
    both = [places.Place(base, name) for name in places.FOLDERS]
    return places.outcome(start, both, traced.scripts(base / "bin"))


@needs_namespaces
@pytest.mark.parametrize("name", ["script actde", "generate"])
@pytest.mark.slow
def test_a_command_among_planted_modules_is_exact(name: str, tmp_path: Path) -> None:
    assert outcome(STARTS[name], tmp_path) == {"outcome": "exact"}


@needs_namespaces
@pytest.mark.slow
def test_files_that_name_foreign_code_are_refused_or_change_nothing(tmp_path: Path) -> None:
    rows = dict(isolation.hostile_rows(tmp_path / "content", [], CONTENT))
    assert rows.keys() == set(CONTENT)
    assert [row for row in rows.values() if row["outcome"] == "failed"] == []


def test_a_shell_command_that_records_no_name_is_found(tmp_path: Path) -> None:
    place = places.Place(tmp_path, "planted")
    assert place.executed() == []
    (tmp_path / "record").touch()
    assert place.executed() == ["touch"]


@needs_namespaces
def test_executed_modules_and_connections_are_found(tmp_path: Path) -> None:
    code = "import json, socket; socket.socket().connect(('192.0.2.1', 80))"
    row = outcome(Start(words=(sys.executable, "-c", code)), tmp_path)
    assert row["outcome"] == "failed"
    wrong = " ".join(map(str, row["wrong"]))  # type: ignore[call-overload]
    assert "clean: connections: 192.0.2.1 port 80" in wrong
    assert "planted: executed" in wrong and " json" in wrong


def test_connections_are_read_from_the_output_of_strace() -> None:
    log = """
12 connect(3, {sa_family=AF_UNIX, sun_path="/dev/log"}, 110) = -1 ENOENT (No such file or directory)
12 connect(4, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = -1 ENETUNREACH
13 connect(4, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS
13 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.53")}, 16) = 1
14 sendto(5, "192.0.2.9", 9, 0, NULL, 0) = 9
"""  # noqa: E501
    assert traced.connections(log) == ("192.0.2.1 port 443", "2001:db8::1 port 80", "10.0.0.53 port 53")
    assert traced.outside(traced.connections(log)) == ["192.0.2.1 port 443", "2001:db8::1 port 80"], (
        "without the look-up of a name"
    )
