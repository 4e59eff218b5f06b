"""Objects and exceptions whose methods raise."""

from typing import Any


class MuteError(Exception):
    """An exception that raises when it is converted to text."""

    def __str__(self) -> str:
        raise RuntimeError("no message")

    __repr__ = __str__


class Foreign(BaseException):
    """An exception that does not inherit from `Exception`."""


class Hostile:
    """An object that raises on every use."""

    def __getattr__(self, *args: Any) -> Any:
        raise OSError("a hostile object")

    __bool__ = __len__ = __iter__ = __float__ = __repr__ = __eq__ = __getattr__
    __hash__ = None  # type: ignore[assignment]


class HostileDict(dict[str, Any]):
    """A dict that raises on every use."""

    def get(self, key: str, default: Any = None) -> Any:
        raise OSError(f"no {key}")

    __getitem__ = __contains__ = __iter__ = keys = items = get  # type: ignore[assignment]


class HostileText(str):
    """A string that raises on most uses."""

    def strip(self, *args: Any) -> str:
        raise OSError("no text")

    encode = splitlines = __len__ = __str__ = strip  # type: ignore[assignment]
