"""Run in a child process: does a game file that is not ours load, and does its record describe it?

The record must be right about the opening text (room, objective), its walkthrough must win, and it must be what the
story was compiled from (`games/record.py`). Prints one line, `problem: ...` or `unverified: ...`, and exits with 1
where it is not. Hanging and crashing are the parent's to notice.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from games.engine import start


def main(story: str) -> int:
    """0 where story and record belong together, else 1."""
    from games.record import find_damage

    for word, find in (("problem", find_problem), ("unverified", find_damage)):
        found = find(Path(story))
        if found:
            print(f"{word}: {found}")  # noqa: T201
            return 1
    return 0


def find_problem(story: Path) -> str:
    """Why the record beside `story` is not its own; '' where nothing speaks against it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tw-copy.z8"
        copy.write_bytes(story.read_bytes())
        copy.with_suffix(".json").write_bytes(story.with_suffix(".json").read_bytes())
        try:
            env = start(copy, ("admissible_commands",))
            state = env.reset()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            return f"TextWorld cannot load it ({type(error).__name__}: {str(error)[:80]})"
        text = _words(state.feedback)
        if _words(state.objective or "") not in text:
            return "the objective is not in the opening text"
        for command in state["extra.walkthrough"] or ():
            if command not in state.admissible_commands:
                return f"the walkthrough asks for {command!r}, which is not possible"
            state, _, _ = env.step(command)
        if state["extra.walkthrough"] and not (state.won and state.score == state.max_score):
            return "the walkthrough does not win"
        env.close()
    return ""


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().lower()
