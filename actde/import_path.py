"""Keeps the current folder off the import path of our programs.

`python -m` puts the current folder first on the import path, where a file such as `json.py` would replace the standard
module of this name. This module removes the current folder from the path. A dozen modules, such as `collections`, are
imported earlier and can still be replaced. Only `python -P -m`, the script `actde` and `python FOLDER/cli.py` are fully
protected.

Each package in `PROGRAMS` must import `actde` before any other module, and `actde` must import this module first.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100 PTH120
PROGRAMS = ("actde", "agents", "benchmarks", "experiments")  # packages with modules for `python -m`


def protect_imports() -> None:
    """Set two environment variables, which child processes inherit.

    PYTHONSAFEPATH keeps Python from importing files of the current folder. HF_HUB_OFFLINE keeps the Hugging Face
    libraries from using the network.
    """
    os.environ |= {"PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}


def _is_our_program() -> bool:
    """Return whether Python was started as `python -m MODULE ARGUMENTS` with a module of the packages in `PROGRAMS`."""
    if sys.argv[:1] != ["-m"]:
        return False
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")  # here, `sys.argv` is ["-m", *ARGUMENTS]
    return module.partition(".")[0] in PROGRAMS


if _is_our_program():
    if not sys.flags.safe_path and os.path.abspath(sys.path[0]) != ROOT:  # noqa: PTH100
        del sys.path[0]
    protect_imports()
