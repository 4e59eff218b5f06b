"""Entry point of `actde` and of `python -m actde`."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py` of this checkout."""
    sys.path.insert(0, str(ROOT))  # before an installed package that is also named `agents`
    import_module("cli").main()


if __name__ == "__main__":
    main()
