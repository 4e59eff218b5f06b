"""Experiments: comparisons, the evaluation card, and the reproduction of the post. Some are run by `python -m`."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100 PTH120 see `protect_imports`


def protect_imports() -> None:
    """Keep this program's processes from importing files of the current folder and from downloading anything.

    `python -m` puts the current folder first on the import path, where a file such as `json.py` would replace a module.
    No module may be imported before it is removed, except those that Python has imported already. Processes that
    libraries start inherit the variables.
    """
    if sys.argv[:1] == ["-m"] and os.path.abspath(sys.path[0]) != ROOT:  # noqa: PTH100
        del sys.path[0]
    os.environ |= {"PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}


if sys.argv[:1] == ["-m"]:  # `python -m experiments.NAME` has imported nothing of NAME yet
    protect_imports()
