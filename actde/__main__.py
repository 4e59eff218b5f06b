"""Entry point of `actde` and of `python -m actde`, which run this checkout's command line from any folder."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py`. The checkout is first on the import path, so its `agents` hides an installed package `agents`."""
    sys.path.insert(0, str(ROOT))
    import_module("cli").main()


if __name__ == "__main__":
    main()
