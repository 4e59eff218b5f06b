"""Import code of the user, such as `package.module:Name` or `path/file.py:Name`."""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from games.errors import GameError, described, did_you_mean

CODE = re.compile(r"(?P<source>[^?,*]+\.py|[A-Za-z_]\w*(?:\.\w+)*):(?P<name>[A-Za-z_][\w./-]*)")
# code that the user has named. A name in stored settings does not suffice (docs/concepts/security.md).
_NAMED: dict[str, None] = {}


def import_code(source: str) -> ModuleType:
    """Import a module or a `.py` file. Raise GameError if the import fails."""
    path = Path(source).expanduser()
    is_file = source.endswith(".py")
    if is_file and not path.is_file():
        raise GameError(f"{source}: no such file")
    _NAMED[canonical(source)] = None
    with code_errors(f"{source} cannot be imported,"):
        if not is_file:
            return importlib.import_module(source)
        try:
            return _execute(path.resolve(), path.stat().st_mtime_ns)
        except ImportError as error:
            if (advice := _import_advice(Path(source), error)) is None:
                raise
            unusable = GameError(f"{source} cannot be imported: {advice}")
    raise unusable


def import_name(reference: str, noun: str) -> Any:
    """Import the function or class `reference`, such as `package.module:Name`."""
    source, _, name = reference.rpartition(":")
    module = import_code(source)
    definition = getattr(module, name, None)
    if not callable(definition):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise GameError(f"{source} has no {noun} {name!r}{did_you_mean(name, names)}")
    return definition


def _import_advice(file: Path, error: ImportError) -> str | None:
    """Return advice if `file` failed to import a file in the same folder, otherwise None."""
    package = file.with_name("__init__.py")
    if "attempted relative import" in str(error):
        return f"code in several files is a package; import the class in {package}, and name {package}:Class"
    name = (error.name or "").partition(".")[0]
    imported_path = file.expanduser().parent / name
    if not (name and (imported_path.with_suffix(".py").is_file() or (imported_path / "__init__.py").is_file())):
        return None
    if file == package:
        return f"it imports {name!r}, which is beside it; write `from . import {name}`, or install {name!r}"
    return (
        f"it imports {name!r}, which is beside it; make the folder a package (write `from . import {name}`, import the "
        f"class in {package}, and name {package}:Class), or install {name!r}"
    )


def find_nearby(reference: str) -> str | None:
    """Convert `package.module:Name` to `package/module.py:Name`. Return None if the file does not exist."""
    source, _, name = reference.partition(":")
    path = source.replace(".", "/")
    with suppress(OSError):  # the name is too long
        files = [file for file in (f"{path}/__init__.py", f"{path}.py") if Path(file).is_file()]
        return f"{files[0]}:{name}" if files else None
    return None


def named_code() -> list[str]:
    """Return the modules and files that were passed to `import_code`, in order."""
    return list(_NAMED)


def canonical(source: str) -> str:
    """Make the path of a `.py` file absolute. Return the name of a module unchanged."""
    if not source.endswith(".py"):
        return source
    path = str(Path(source).expanduser().resolve())
    if any(character in path for character in "?,*"):  # separators in GAME strings and lists
        raise GameError(f"{path}: expected a path of code without '?', ',' and '*'; rename the file or the folder")
    return path


@lru_cache(maxsize=64)
def _execute(path: Path, modified_ns: int) -> ModuleType:
    name = f"actde_file_{hashlib.sha256(f'{path}:{modified_ns}'.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@contextmanager
def code_errors(expectation: str, error_class: type[GameError] = GameError) -> Iterator[None]:
    """Inside the `with` block, convert exceptions to `error_class`. The message begins with `expectation`."""
    process_id = os.getpid()
    # `redirect_stdout` applies to the whole process, so threads that overlap could restore the wrong stream
    in_main_thread = threading.current_thread() is threading.main_thread()
    try:
        with redirect_stdout(sys.stderr) if in_main_thread else nullcontext():
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code may raise anything, also by calling exit()
        if os.getpid() == process_id:
            *_, frame = traceback.extract_tb(error.__traceback__)
            is_ours = frame.filename.startswith("<") or Path(frame.filename).parent == Path(__file__).parent
            location = "" if is_ours else f" ({Path(frame.filename).name}, line {frame.lineno or '?'})"
            raise error_class(f"{expectation} got {described(error, all_lines=True)}{location}") from error
    finally:
        if os.getpid() != process_id:  # a process that the code has forked
            os._exit(1)
