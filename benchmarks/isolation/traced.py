"""Run a command in a network namespace without interfaces, and list its attempts to open a connection."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.faults.result import Result

UP = 'ip link set lo up && exec "$@"'
CALL = re.compile(r"(?:connect|send\w*)\(.*sa_family=AF_INET6?,.*?\"(?P<address>[^\"]*)\"")
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.|::$|0\.0\.0\.0$")
SECONDS = 900.0


def outside(connections: Sequence[str]) -> list[str]:
    """Return the connections to other machines, except look-ups of this machine's name by torch.distributed."""
    return [each for each in connections if not (LOOPBACK.match(each) or each.endswith(" port 53"))]


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path, *,
    loopback: bool = False, given: str = "", seconds: float = SECONDS,
) -> Result:  # fmt: skip
    """Run a command in `folder`. `given` is its standard input, and strace writes to the file `log`."""
    isolate = ["unshare", "--map-root-user", "--net", *(["sh", "-c", UP, "sh"] if loopback else [])]
    trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
    with subprocess.Popen(
        [*isolate, *trace, "-o", str(log), "--", *command], cwd=folder, env=dict(environment), text=True,
        errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"\nno end within {seconds:g} s\n"
    found = connections(log.read_text(errors="replace"))
    return Result(status=process.returncode, out=out, err=err, connections=found)


def connections(log: str) -> tuple[str, ...]:
    """Return the addresses with ports in strace's output."""
    calls = ((CALL.search(line), PORT.search(line)) for line in log.splitlines())
    return tuple(dict.fromkeys(f"{call['address']} port {port[1] if port else '?'}" for call, port in calls if call))


def environment(**further: str) -> dict[str, str]:
    """Return `further` and the variables of this process, except those that protect imports or forbid downloads."""
    protecting = ("PYTHONSAFEPATH", "HF_HUB_OFFLINE", "PYTHONPATH", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
    kept = {name: value for name, value in os.environ.items() if name not in protecting}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200", **further}


def scripts(folder: Path) -> dict[str, str]:
    """Write the scripts that pip installs for the entry points actde, torchrun and accelerate. Return their paths."""
    targets = {"actde": "actde.__main__", "torchrun": "torch.distributed.run",
               "accelerate": "accelerate.commands.accelerate_cli"}  # fmt: skip
    folder.mkdir(exist_ok=True)
    for name, module in targets.items():
        text = f"#!{sys.executable}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {name: str(folder / name) for name in targets}
