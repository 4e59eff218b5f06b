"""Warnings and errors as one line, for all programs and their child processes. This module imports nothing heavy."""

import os

MAX_CHARACTERS = 1_500


def shortened(text: str) -> str:
    """Return a text without its middle if it has more than `MAX_CHARACTERS` characters."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """Format a warning of ours or of a library; replaces `warnings.formatwarning`.

    Of the processes that `torchrun` starts, only the first prints.
    """
    return f"warning: {shortened(' '.join(str(message).split()))}\n" if os.environ.get("RANK", "0") == "0" else ""
