"""Entry point of `actde` and of `python -m actde`, which run this checkout's command line from any folder."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py`.

    The checkout is put first on the import path. Its package `agents` is therefore imported even if another package of
    this name is installed.
    """
    sys.path.insert(0, str(ROOT))
    import_module("cli").main()


if __name__ == "__main__":
    main()
