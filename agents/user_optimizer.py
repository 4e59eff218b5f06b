"""Converts errors in the code of a user's optimizer to errors with one-line messages."""

import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import CodeType

from actde import Optimizer, OptimizerConfig, OptimizerError, optimizer_class
from actde.batch import Record
from actde.errors import ResultError
from agents.protocol import LostProcessError
from games.errors import described

OURS = ("actde", "experiments")
"""Packages of this project that define optimizers."""


def build_optimizer(name: str, config: OptimizerConfig) -> Optimizer:
    """Create the optimizer with this name.

    Raises:
        OptimizerError: the settings contradict each other, or the constructor of a user's optimizer fails.
    """
    cls = optimizer_class(name)
    with one_line_errors(cls):
        return cls(config)


@contextmanager
def one_line_errors(optimizer: Optimizer | type[Optimizer]) -> Iterator[None]:
    """Convert exceptions that a user's code raises in the `with` block to an `OptimizerError`.

    The message names the class, the file and the line. The user's code consists of the files outside the packages
    `OURS` that define the class of the optimizer or one of its base classes. An exception is converted if its traceback
    contains such a file. A `ResultError` is converted if its method is defined in such a file. All other exceptions
    pass unchanged, and so does an `OptimizerError` or a `LostProcessError`.
    """
    cls = optimizer if isinstance(optimizer, type) else type(optimizer)
    try:
        yield
    except ResultError as error:
        code = getattr(inspect.unwrap(getattr(cls, error.method)), "__code__", None)
        if code is None or code.co_filename not in _files(cls):
            raise
        hint = _hint(optimizer, code) if "got None" in str(error) else ""
        raise OptimizerError(f"{error} ({_place(code.co_filename, code.co_firstlineno)}){hint}") from error
    except (OptimizerError, LostProcessError):
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything, also by calling exit()
        files = _files(cls)
        walk = traceback.walk_tb(error.__traceback__)
        frames = [(frame.f_code, line) for frame, line in walk if frame.f_code.co_filename in files]
        if not frames:
            raise
        code, line = frames[-1]
        hint = _fields(error) or (_hint(optimizer, code) if "NoneType" in str(error) else "")
        what = (
            f"class {cls.__name__}: expected a result of {frames[0][0].co_name}, got {described(error, all_lines=True)}"
        )
        raise OptimizerError(f"{what} ({_place(code.co_filename, line)}){hint}") from error


def _files(cls: type[Optimizer]) -> set[str]:
    """Return the files of the user that define the class and its base classes."""
    bases = [base for base in cls.__mro__ if issubclass(base, Optimizer) and base.__module__.split(".")[0] not in OURS]
    return {file for base in bases if (file := getattr(sys.modules.get(base.__module__), "__file__", None))}


def _place(file: str, line: int | None) -> str:
    return f"{Path(file).name}, line {line or '?'}"


def _hint(optimizer: Optimizer | type[Optimizer], code: CodeType) -> str:
    """Return a hint to set a flag such as `needs_q`, if the code reads a tensor that is None without this flag.

    Otherwise, return "".
    """
    if isinstance(optimizer, type):
        return ""
    missing = {"q_values": "needs_q"} if not optimizer.trains_q else {}
    missing |= {"expected_q": "needs_expected_q"} if not optimizer.needs_expected_q else {}
    missing |= {"q_logprobs": "needs_q_logprobs"} if not optimizer.needs_q_logprobs else {}
    missing |= {"kl": "needs_kl"} if not optimizer.needs_reference else {}
    where = f"in class {type(optimizer).__name__} ({Path(code.co_filename).name})"
    hints = (f"; {name} is None: set {need} = True {where}" for name, need in missing.items() if name in code.co_names)
    return next(hints, "")


def _fields(error: BaseException) -> str:
    """Return a hint that lists the existing fields, if `error` is about a missing field of a `Batch` or other `Record`.

    Otherwise, return "".
    """
    if not (isinstance(error, AttributeError) and isinstance(error.obj, Record)):
        return ""
    return f"; {type(error.obj).__name__} has {', '.join(field.name for field in fields(error.obj))}"
