"""The script `actde`, and `python -m actde`: the command line of this checkout, from any folder."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run `cli.py`. The checkout's folders, such as `agents`, precede installed packages of the same names."""
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "cli.py"), run_name="__main__")


if __name__ == "__main__":
    main()
