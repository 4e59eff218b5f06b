"""Formats warnings and errors as one line, for all programs and their child processes. It is fast to import."""

import os

MAX_CHARACTERS = 1_500


def shortened(text: str) -> str:
    """Return the text, with "..." in place of its middle if it has more than `MAX_CHARACTERS` characters."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """Format a warning as one line, in place of `warnings.formatwarning`.

    If `torchrun` started several processes, all but the first return "", so that each warning appears once.
    """
    return f"warning: {shortened(' '.join(str(message).split()))}\n" if os.environ.get("RANK", "0") == "0" else ""
