"""Converts exceptions in a user's optimizer to one-line errors."""

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

PACKAGES = ("actde", "experiments")  # packages of this project that define optimizers
# tensor that may be None -> (the flag that requests it, the attribute that is true if the tensor is present)
FLAGS = {
    "q_values": ("needs_q", "trains_q"),
    "expected_q": ("needs_expected_q", "needs_expected_q"),
    "q_logprobs": ("needs_q_logprobs", "needs_q_logprobs"),
    "kl": ("needs_kl", "needs_reference"),
}


def build_optimizer(name: str, config: OptimizerConfig) -> Optimizer:
    """Create the optimizer called `name`. Raise OptimizerError if the constructor fails."""
    cls = optimizer_class(name)
    with one_line_errors(cls):
        return cls(config)


@contextmanager
def one_line_errors(optimizer: Optimizer | type[Optimizer]) -> Iterator[None]:
    """Within the context, convert exceptions in a user's optimizer to OptimizerError."""
    cls = optimizer if isinstance(optimizer, type) else type(optimizer)
    try:
        yield
    except ResultError as error:
        code = getattr(inspect.unwrap(getattr(cls, error.method)), "__code__", None)
        if code is None or code.co_filename not in _files(cls):
            raise
        hint = _flag_hint(optimizer, code) if "got None" in str(error) else ""
        raise OptimizerError(f"{error} ({_location(code.co_filename, code.co_firstlineno)}){hint}") from error
    except (OptimizerError, LostProcessError):
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything, also by calling exit()
        files = _files(cls)
        stack = traceback.walk_tb(error.__traceback__)
        frames = [(frame.f_code, line) for frame, line in stack if frame.f_code.co_filename in files]
        if not frames:
            raise
        code, line = frames[-1]
        hint = _record_fields(error) or (_flag_hint(optimizer, code) if "NoneType" in str(error) else "")
        problem = f"expected a result of {frames[0][0].co_name}, got {described(error, all_lines=True)}"
        raise OptimizerError(f"class {cls.__name__}: {problem} ({_location(code.co_filename, line)}){hint}") from error


def _files(cls: type[Optimizer]) -> set[str]:
    """Return the user's files that define the class and its bases."""
    bases = [
        base for base in cls.__mro__ if issubclass(base, Optimizer) and base.__module__.split(".")[0] not in PACKAGES
    ]
    return {file for base in bases if (file := getattr(sys.modules.get(base.__module__), "__file__", None))}


def _location(file: str, line: int | None) -> str:
    return f"{Path(file).name}, line {line or '?'}"


def _flag_hint(optimizer: Optimizer | type[Optimizer], code: CodeType) -> str:
    """Return a hint such as "set needs_q = True in class Mine", or "" without a hint."""
    for name, (flag, attribute) in FLAGS.items():
        if not isinstance(optimizer, type) and name in code.co_names and not getattr(optimizer, attribute):
            location = f"in class {type(optimizer).__name__} ({Path(code.co_filename).name})"
            return f"; {name} is None: set {flag} = True {location}"
    return ""


def _record_fields(error: BaseException) -> str:
    if not (isinstance(error, AttributeError) and isinstance(error.obj, Record)):
        return ""
    return f"; {type(error.obj).__name__} has {', '.join(field.name for field in fields(error.obj))}"
