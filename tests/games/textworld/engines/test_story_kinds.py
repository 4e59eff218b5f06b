"""Kinds of stories: characters who are addressed, quotes, signs such as $, keys to press, and all ways to end."""

from __future__ import annotations

from pathlib import Path

import jericho
import pytest

from games import GameError
from games.textworld.engines.command_filter import FreeTextFilter
from games.textworld.env import TextWorld
from tests.helpers.stories import compile_story
from tests.helpers.unusual_stories import FRAME, STORIES

BY_TITLE = {story.title: story for story in STORIES}
WALKTHROUGHS = [
    ("Characters", "bob, take crown/bob, give me the crown", True),
    ("Characters", "bob,north/bob , take it/bob,give crown", True),
    ("Characters", "Bob, Take Crown/ask bob about crown/BOB, GIVE CROWN TO ME", True),
    ("Quotations", 'say "sesame"/north', True),
    ("Quotations", '"sesame"/answer "sesame" loudly/north', True),
    ("Quotations", "say 'sesame'/Say \"SESAME\"/NORTH", True),
    ("Money", "earn/pay $5/earn/earn/earn", True),
    ("Money", "pay $10/earn/earn/earn/earn/earn", True),
    ("Money", "pay 5$/pay #1/earn/earn/earn", True),
    ("Press a key", "rest//leave/", False),
    ("Press a key", "sleep///leave/", False),
    ("Press a key", "//sleep/ / /leave/x", False),
]


def play(story: Path, commands: str) -> list[tuple[str, bool, bool, bool]]:
    """Play the commands, and return (text, terminated, won, lost) of each."""
    env, results = TextWorld(story), []
    env.reset()
    for command in commands.split("/"):
        text, _, terminated, truncated, info = env.step(command)
        assert "refused" not in info and not truncated
        assert bool(info["admissible_commands"]) is not terminated
        results.append((text, terminated, info["won"], info["lost"]))
    assert env.reset()[0], "a new episode begins"
    env.close()
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.mark.parametrize(("title", "commands", "won"), WALKTHROUGHS)
def test_a_walkthrough_ends_its_story(title: str, commands: str, won: bool, folder: Path) -> None:
    story = BY_TITLE[title]
    *before, last = play(compile_story(folder, story.version, story.source, "kind"), commands)
    assert last[1:] == (True, won, False)
    assert not any(terminated for _, terminated, _, _ in before)


@pytest.mark.parametrize(
    ("command", "end", "won", "lost"),
    [
        ("crown", "or QUIT?", True, False),
        ("jump", "or QUIT?", False, True),
        ("bow", "*** You have won ***", True, False),
        ("dance", "You may dance again.", False, True),
        ("fade", "You fade away", False, False),
        ("doze", "a saved game or QUIT?", False, False),
        ("fall", "aaa", False, False),
    ],
)
def test_every_end_terminates_and_an_outcome_is_claimed_only_if_the_story_tells_it(
    command: str, end: str, won: bool, lost: bool, folder: Path
) -> None:
    story = compile_story(folder, 8, BY_TITLE["Endings"].source, "ends")
    *before, last = play(story, f"read/help/ask/north/{command}")
    assert last[0].endswith(end) and last[1:] == (True, won, lost)
    assert not any(terminated for _, terminated, _, _ in before), "texts that name RESTART and QUIT are no ends"


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("You drown.\n\nWould you like to restart, or end this session?\n(Type RESTART, RESTORE, or QUIT):\n\n>", True),
        ("Would you like to RESTART, RESTORE a saved game, QUIT or UNDO the last command?", True),
        ("What now? RESTART\nor EXIT? > ", True),
        ("Would you like to restart or quit smoking?", False),
        ("You can RESTART or QUIT at any time.", False),
        ("RESTART or QUIT?\n\nNobody answers.", False),
        ("RESTART the engine?", False),
    ],
)
def test_an_offer_to_restart_or_quit_is_an_end(text: str, ended: bool, folder: Path) -> None:
    lines = text.replace("\n", "^")
    turn = f"[ Turn; if (W(0) == 'go') {{ print \"{lines}^\"; rfalse; }} rtrue; ];"
    source = FRAME.format(title="Offers", directives="", read="read buffer parse;", routines=turn)
    assert play(compile_story(folder, 5, source, "offers"), "go")[0][1:] == (ended, False, False)


def test_an_undo_fails_and_a_crash_is_one_line(folder: Path) -> None:
    turn = """
[ Turn r; switch (W(0)) { 'rewind': @restore_undo -> r; print "Undone: ", r, ".^"; rfalse;
  'divide': @div 1 score -> r; print r; rfalse; } rtrue; ];"""
    source = FRAME.format(title="Hazards", directives="", read="read buffer parse;", routines=turn)
    story = compile_story(folder, 5, source, "hazards")
    assert [text for text, *_ in play(story, "rewind/look/rewind")] == [
        "Undone: -1.", "That makes no sense.", "Undone: -1.",
    ]  # fmt: skip
    env = TextWorld(story)
    env.reset()
    with pytest.raises(GameError, match=r"crashed its interpreter \(SIGFPE\) at 'divide'$"):
        env.step("divide")
    assert env.reset()[0] == "Hazards"
    env.close()


def test_every_walkthrough_of_jericho_passes_the_filter() -> None:
    """The walkthroughs win public stories, such as zork2, and their commands have many words and punctuation marks."""
    scripts = [known.get("walkthrough", "") for known in jericho.defines.BINDINGS_DICT.values()]
    commands = {command for script in scripts for command in script.split("/")}
    assert len(scripts) > 50 and len(commands) > 3000
    assert {command for command in commands if FreeTextFilter().check(command, ()).command != command.strip()} == set()
