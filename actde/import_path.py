"""Removes the current folder from `sys.path` if `python -m` runs a module of `PROGRAMS`."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100 PTH120
# Each must import `actde` first: a file `json.py` in the current folder would replace the standard module.
PROGRAMS = ("actde", "agents", "benchmarks", "experiments")  # packages with modules for `python -m`


def protect_imports() -> None:
    """Set the environment variables PYTHONSAFEPATH and HF_HUB_OFFLINE, also for child processes."""
    os.environ |= {"PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}


def _is_our_program() -> bool:
    if sys.argv[:1] != ["-m"]:
        return False
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")  # here, `sys.argv` is ["-m", *ARGUMENTS]
    return module.partition(".")[0] in PROGRAMS


if _is_our_program():
    # modules that Python imports earlier, such as `collections`, can still be replaced
    if not sys.flags.safe_path and os.path.abspath(sys.path[0]) != ROOT:  # noqa: PTH100
        del sys.path[0]
    protect_imports()
