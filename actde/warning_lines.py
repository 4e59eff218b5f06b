"""Format warnings and errors as one line."""

import os

MAX_CHARACTERS = 1_500


def shortened(text: str) -> str:
    """Replace the middle of a long text by three dots."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """Return a warning as one line, or "" if the environment variable RANK is not 0."""
    return f"warning: {shortened(' '.join(str(message).split()))}\n" if os.environ.get("RANK", "0") == "0" else ""
