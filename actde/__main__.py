"""The script `actde`, and `python -m actde`: the command line of this checkout, from any folder."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py`. The checkout's folders, such as `agents`, precede installed packages of the same names."""
    sys.path.insert(0, str(ROOT))
    import_module("cli").main()


if __name__ == "__main__":
    main()
