"""Format warnings and errors as one line. This module is fast to import."""

import os

MAX_CHARACTERS = 1_500


def shortened(text: str) -> str:
    """Return the text, with "..." in place of its middle if it is too long."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """Return a warning as one line, or "" on a rank other than 0. This replaces `warnings.formatwarning`."""
    return f"warning: {shortened(' '.join(str(message).split()))}\n" if os.environ.get("RANK", "0") == "0" else ""
