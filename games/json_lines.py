"""Write files of JSON Lines."""

import json
from collections.abc import Iterable
from pathlib import Path

from games.errors import naming


def dumped(rows: Iterable[object]) -> str:
    """Return the rows as text in the format JSON Lines, with one line per row."""
    return "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)


def append(path: Path, rows: Iterable[object]) -> None:
    """Append one line per row to the file, which is created if necessary. If writing fails, the file is unchanged."""
    text = dumped(rows)
    with naming(path), path.open("ab", buffering=0) as file:
        before, rest = file.tell(), memoryview(text.encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(before)
            raise
