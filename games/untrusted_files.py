"""Read files that may be damaged or malicious. After a failed check, a function raises the exception class `error`."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from games.errors import FilesError, reason

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")
MAX_BYTES = 256_000_000  # default limit on the size of a file, or of a line of a JSON Lines file, in bytes
# matches the position that a JSON parser's message states for a text that ends too early
END = re.compile(r" at line [0-9]+ column 0$")


def is_present(path: Path) -> bool:
    """Return whether `path` exists, even as a broken symbolic link."""
    return os.path.lexists(path)


def check_regular(path: Path, error: type[ValueError] = FilesError) -> None:
    """Check that `path` is a regular file that can be opened."""
    os.close(_open(path, error))


def read_bytes(path: Path, *, limit: int = MAX_BYTES, error: type[ValueError] = FilesError) -> bytes:
    """Return the content of a file of at most `limit` bytes."""
    with os.fdopen(_open(path, error), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise error(f"{path} is too large: expected at most {limit:,} bytes")
    return data


def read_text(path: Path, *, limit: int = MAX_BYTES, error: type[ValueError] = FilesError) -> str:
    """Return the text of a UTF-8 file, without a byte order mark."""
    return decode(read_bytes(path, limit=limit, error=error), str(path), error)


def read_lines(
    path: Path, *, complete: bool = False, limit: int = MAX_BYTES, error: type[ValueError] = FilesError
) -> Iterator[tuple[str, str]]:
    """Yield (location, text) for each line. If `complete` is true, the last line must end with a newline."""
    for location, line in read_raw_lines(path, limit=limit, error=error):
        text = decode(line, location, error)
        if complete and not text.endswith("\n"):
            raise error(f"{location} is damaged: expected a complete line")
        yield location, text


def read_raw_lines(
    path: Path, *, offset: int = 0, number: int = 1, limit: int = MAX_BYTES, error: type[ValueError] = FilesError
) -> Iterator[tuple[str, bytes]]:
    """Yield (location, bytes) for each line. Reading starts at byte `offset`, where line `number` begins."""
    with os.fdopen(_open(path, error), "rb") as file:
        file.seek(offset)
        while line := file.readline(limit + 1):
            location = f"{path}, line {number}"
            if len(line) > limit:
                raise error(f"{location} is too long: expected at most {limit:,} bytes")
            yield location, line
            number += 1


def decode(data: bytes, location: str, error: type[ValueError] = FilesError) -> str:
    """Decode UTF-8 and remove a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(f"{location} is damaged: not UTF-8 at byte {failure.start}") from None


def parse_json(data: bytes | str, location: str, error: type[ValueError] = FilesError) -> Any:
    from pydantic_core import from_json

    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as failure:
        text = data if isinstance(data, str) else data.decode(errors="replace")
        problem = str(failure) if "\n" in text.strip() else _in_one_line(str(failure))
        raise error(f"{location} is damaged: no valid JSON, {problem}") from None
    if not _is_finite(value):
        raise error(f"{location} is damaged: a number is too large")
    return value


def read_json(path: Path, schema: Any = None, *, limit: int = MAX_BYTES, error: type[ValueError] = FilesError) -> Any:
    """Return the JSON value in a file. If `schema` is given, check that the value has the type `schema`."""
    value = parse_json(read_bytes(path, limit=limit, error=error), str(path), error)
    if schema is not None:
        validated(schema, value, str(path), error)
    return value


def read_object(path: Path, *, error: type[ValueError] = FilesError) -> dict[str, Any]:
    """Return the JSON object in a file."""
    return as_object(read_json(path, error=error), str(path), error)


def as_object(value: Any, location: str, error: type[ValueError] = FilesError) -> dict[str, Any]:
    """Return `value`, or raise `error` unless `value` is a JSON object."""
    if not isinstance(value, dict):
        raise error(f"{location} is damaged: expected a JSON object, got {type(value).__name__}")
    return value


def validated(schema: type[T], value: Any, location: str, error: type[ValueError] = FilesError) -> T:
    """Convert a JSON value to the type `schema` with pydantic."""
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import to_json

    try:
        return TypeAdapter(schema).validate_json(to_json(value), strict=True)  # accepts a list as a tuple
    except ValidationError as failure:
        raise error(f"{location} is damaged: {first_error(failure)}") from None
    except ValueError as failure:  # from a validator of the model
        raise error(f"{location} is damaged: {failure}") from None


def first_error(failure: ValidationError) -> str:
    """Return the first error of a pydantic validation as one line."""
    details = failure.errors(include_url=False)[0]
    if details["type"] == "json_invalid":
        return _in_one_line(details["msg"].replace("Invalid JSON", "no valid JSON"))
    field = ".".join(map(str, details["loc"]))
    return f"{field}: {details['msg']}, got {details['input']!r:.60}".removeprefix(": ")


def _in_one_line(problem: str) -> str:
    """Remove the line number from a parser's message about a one-line text."""
    return END.sub("", problem).replace("at line 1 column", "at column")


def _open(path: Path, error: type[ValueError]) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # otherwise, opening a FIFO waits for a writer
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path} is missing") from None
    except OSError as failure:
        raise error(f"{path} cannot be read: {reason(failure)}") from None
    except ValueError:
        raise error(f"{str(path)!r} is no name of a file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path} is no regular file; expected a file")
    return descriptor


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):  # a number such as 1e400 is read as infinity
        return math.isfinite(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, items))
