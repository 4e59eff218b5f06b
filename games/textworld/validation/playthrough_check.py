"""Does a game file load, and does its record describe it? The opening text and the walkthrough are played.

A file that is not ours is probed in a child process, and its record must also be what the story was compiled from
(`record_check.py`): `main` prints one line, `problem: ...` or `unverified: ...`, and exits with 1 where it is not;
hanging and crashing are the parent's to notice. A game that we just made is probed in this process, and its
walkthrough is held against the rules command by command without TextWorld's slow tracking.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from games.textworld.upstream.rule_simulation import AmbiguousRulesError, RuleSimulation
from games.textworld.upstream.start import rules_parsed_once, start, start_untracked, traced_events


def main(story: str) -> int:
    """0 where story and record belong together, else 1."""
    from games.textworld.validation.record_check import find_damage

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


def find_own_problem(story: bytes, record: bytes) -> str:
    """Why a game that we just made is faulty; '' where each command of its walkthrough does what the rules say.

    That is: the command is admissible, the interpreter reports the same action, and the last one wins all points.
    """
    from textworld.generator.game import Game

    with rules_parsed_once(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tw-game.z8"
        file.write_bytes(story)
        game = Game.deserialize(json.loads(record))
        env, state = start_untracked(file)
        simulation = RuleSimulation(game)
        if _words(game.objective) not in _words(state.feedback):
            return "the objective is not in the opening text"
        for command in game.metadata["walkthrough"]:
            try:
                _, expected = simulation.step(command)
            except AmbiguousRulesError as error:
                return f"the rules are not clear about its walkthrough: {error}"
            if not expected:
                return f"the walkthrough asks for {command!r}, which is not possible"
            state, _, _ = env.step(command)
            events, _ = traced_events(state.feedback)
            if [event.lower() for event in events] != [expected]:
                return f"{command!r} of the walkthrough did {', '.join(events) or 'nothing'}, and not {expected}"
        if not (state.won and state.score == game.max_score):
            return "the walkthrough does not win"
        env.close()
    return ""


def _words(text: str) -> str:
    """The text without what Inform changes in printing it: spaces, and some apostrophes, which become quotes."""
    return re.sub(r"\s+", " ", text.replace('"', "'")).strip().lower()
