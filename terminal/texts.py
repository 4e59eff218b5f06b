"""Make texts of games safe to print in a terminal."""


def printable(text: str) -> str:
    """Escape control characters, so that a game cannot control the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Return a text as one line without control characters."""
    return " ".join(printable(text).split())
