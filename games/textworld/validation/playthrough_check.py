"""Check that a game loads, matches its `.json` and is won by its walkthrough."""

import contextlib
import json
import re
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from games.child_process import ROOT
from games.errors import described
from games.files import scratch_folder
from games.textworld.upstream.rule_simulation import AmbiguousRulesError, RuleSimulation
from games.textworld.upstream.start import rules_parsed_once, start, start_untracked, traced_events

if TYPE_CHECKING:
    from textworld.generator.game import Game


def main(story: str) -> int:
    """Check a game and return the exit status. On failure, print a line that begins with `problem` or `unverified`."""
    from games.textworld.validation.record_check import find_damage

    sys.excepthook = _report
    # the user may choose to play an `unverified` game
    for verdict, find_reason in (("problem", find_problem), ("unverified", find_damage)):
        if problem := find_reason(Path(story)):
            print(f"{verdict}: {problem}")  # noqa: T201
            return 1
    return 0


def _report(error_type: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception as a `problem` of the game, unless our own code raised it."""
    *_, (innermost, _) = traceback.walk_tb(trace)
    if Path(innermost.f_code.co_filename).is_relative_to(ROOT / "games"):
        sys.__excepthook__(error_type, error, trace)
    else:
        print(f"problem: TextWorld cannot load or play it ({described(error)})")  # noqa: T201


def find_problem(story: Path) -> str:
    """Play the walkthrough. Return what is wrong with the game, or an empty string."""
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        copy = Path(folder) / "tw-copy.z8"
        copy.write_bytes(story.read_bytes())
        copy.with_suffix(".json").write_bytes(story.with_suffix(".json").read_bytes())
        env = start(copy, ("admissible_commands",))
        state = env.reset()
        text = _normalize(state.feedback)
        if _normalize(state.objective or "") not in text:
            return "the objective is not in the opening text"
        walkthrough = state.get("extra.walkthrough") or ()  # TextWorld's `GameMaker` writes none
        for command in walkthrough:
            state, _, _ = env.step(command)
        if walkthrough and not (state.won and state.score <= state.max_score):
            return "the walkthrough does not win"
        env.close()
    return ""


def find_generation_fault(story: bytes, record: bytes) -> str:
    """Play the walkthrough of a newly generated game. Return what is wrong with the game, or an empty string."""
    from textworld.generator.game import Game

    with rules_parsed_once(), tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        file = Path(folder) / "tw-game.z8"
        file.write_bytes(story)
        game = Game.deserialize(json.loads(record))
        env, state = start_untracked(file)
        with contextlib.closing(env):
            return _find_play_problem(game, env, state)


def _find_play_problem(game: "Game", env: Any, state: Any) -> str:
    simulation = RuleSimulation(game)
    if _normalize(game.objective) not in _normalize(state.feedback):
        return "the objective is not in the opening text"
    for command in game.metadata["walkthrough"]:
        try:
            _, expected = simulation.step(command)
        except AmbiguousRulesError as error:
            return f"the rules are not clear about its walkthrough: {error}"
        state, _, _ = env.step(command)
        events, _ = traced_events(state.feedback)
        if [event.lower() for event in events] != ([expected] if expected else []):
            reported, simulated = ", ".join(events) or "nothing", expected or "nothing"
            return f"{command!r} of the walkthrough did {reported} instead of {simulated}"
    return "" if state.won and state.score == game.max_score else "the walkthrough does not win"


def _normalize(text: str) -> str:
    """Remove the differences that Inform causes in case, white space and quotes."""
    return re.sub(r"\s+", " ", text.replace('"', "'")).strip().lower()
