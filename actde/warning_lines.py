"""Warnings as one line on standard error, for all programs and their child processes. This imports nothing heavy."""

import os


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """Format a warning of ours or of a library; replaces `warnings.formatwarning`.

    Of the processes that `torchrun` starts, only the first prints.
    """
    return f"warning: {' '.join(str(message).split())}\n" if os.environ.get("RANK", "0") == "0" else ""
