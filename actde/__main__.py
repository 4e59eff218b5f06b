"""Entry point of `actde` and of `python -m actde`. Both run `cli.py` of this checkout from any folder."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py` of this checkout, even if an installed package is also named `agents`."""
    sys.path.insert(0, str(ROOT))
    import_module("cli").main()


if __name__ == "__main__":
    main()
