"""Random play of unusual games and stories gives what the underlying interpreter gives: no output differs.

A TextWorld game is compared with TextWorld's own environment, a story with jericho's `FrotzEnv`.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from games.textworld.engines.command_filter import MAX_LENGTH, META, NO_SENSE, NO_VERB
from games.textworld.engines.jericho import COMMON_COMMANDS
from games.textworld.engines.protocol import BANNER_END
from games.textworld.env import TextWorld
from tests.helpers.stories import compile_story
from tests.helpers.unusual_games import GAMES, compile_game
from tests.helpers.unusual_stories import STORIES, Story

STEPS, TURNS = 2000, 50
LOOSE = ("it", "them", "him", "one", "that", "all", "and", "from", "with", "on", "in", "zzz", "#1", "'s", "-")
STATUS = re.compile(r"^> (?:Hall|Garden) {9,}(?:Score: *(-?\d+) +Moves: *\d+|Time: .*m) *\n")


class StockGame:
    """TextWorld's own environment."""

    def __init__(self, story: Path) -> None:
        import textworld

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Jericho does not know the game
            self._env = textworld.start(str(story), textworld.EnvInfos(admissible_commands=True))
            self.verbs = sorted({template.split()[0] for template in self._env.reset()["game"].command_templates})

    def reset(self) -> dict[str, Any]:
        outputs = self._outputs(self._env.reset())
        return {**outputs, "text": outputs["text"].partition(BANNER_END.strip())[2].strip()}

    def step(self, command: str) -> dict[str, Any]:
        return self._outputs(self._env.step(command)[0])

    def _outputs(self, state: Any) -> dict[str, Any]:
        done = bool(state.won or state.lost)
        commands = [] if done else state.admissible_commands
        return {"text": state.feedback.strip(), "score": state.score, "won": bool(state.won), "lost": bool(state.lost),
                "done": done, "commands": commands}  # fmt: skip


def outputs_of(text: str, terminated: bool, info: dict[str, Any]) -> dict[str, Any]:
    names = {"score": info["score"], "won": info["won"], "lost": info["lost"], "commands": info["admissible_commands"]}
    return {**names, "text": text, "done": terminated}


def invented(rng: np.random.Generator, verbs: list[str], commands: list[str]) -> str:
    """A verb followed by up to four words of the admissible commands or of `LOOSE`."""
    pool = [*LOOSE, *(word for command in commands for word in command.split())]
    return " ".join([str(rng.choice(verbs)), *(str(rng.choice(pool)) for _ in range(rng.integers(0, 5)))])


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_random_play_of_an_unusual_game_equals_textworlds(name: str, tmp_path: Path) -> None:
    story = compile_game(name, tmp_path)
    ours, theirs = TextWorld(story, max_turns=TURNS, infos=["last_command"]), StockGame(story)
    rng = np.random.default_rng(GAMES.index(name))
    passed = done = 0
    for step in range(STEPS):
        if step == 0 or done:
            text, info = ours.reset()
            expected, played = theirs.reset(), list[str]()
            assert outputs_of(text, False, info) == expected
        free = rng.random() < 0.3 or not expected["commands"]
        command = invented(rng, theirs.verbs, expected["commands"]) if free else str(rng.choice(expected["commands"]))
        text, reward, terminated, truncated, info = ours.step(command)
        if "refused" in info:
            assert free and text in (NO_SENSE, NO_VERB), command
            expected = {**expected, "text": text}
        else:
            before, expected = expected["score"], theirs.step(info["last_command"])
            assert reward == expected["score"] - before
            played.append(info["last_command"])
            passed += 1
        if truncated:
            info["admissible_commands"] = expected["commands"]  # ours are empty after the turn limit
        assert outputs_of(text, terminated, info) == expected, played
        done = terminated or truncated
    assert passed > 0.7 * STEPS
    ours.close()


class Frotz:
    """Jericho's environment. It knows neither the ends nor the score of our stories, so this class derives them."""

    def __init__(self, story: Story, path: Path) -> None:
        import jericho

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Jericho does not know the story
            self._env = jericho.FrotzEnv(str(path), 1)
        words = {entry.word for entry in self._env.get_dictionary()}
        self._usual = sorted(words & {"look", "north", "south", "wait"}) or sorted(COMMON_COMMANDS)
        self._ends = story.ends
        self.score_before: int | None = None

    def reset(self) -> dict[str, Any]:
        self.score_before = 0
        return self._outputs(self._env.reset()[0])

    def step(self, command: str) -> dict[str, Any]:
        return self._outputs(self._env.step(command)[0])

    def _outputs(self, text: str) -> dict[str, Any]:
        """Return the outputs without the score, because the status line shows the score from before the command."""
        line = STATUS.search(text)
        if line:
            self.score_before = int(line[1] or 0)
            text = text[line.end() :]
        text = text.strip().removeprefix(">").removesuffix(">").strip()
        end = next((end for end in self._ends if end in text), None)
        won, lost = self._ends[end] if end else (False, False)
        commands = [] if end else self._usual
        return {"text": text, "won": won, "lost": lost, "done": end is not None, "commands": commands}


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_random_play_of_an_unusual_story_equals_jerichos(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Jericho writes files here if a story saves
    path = compile_story(tmp_path, story.version, story.source, "own")
    ours, theirs = TextWorld(path, max_turns=TURNS), Frotz(story, path)
    rng = np.random.default_rng(STORIES.index(story))
    refused, done, ends = 0, True, set[str]()
    for _ in range(STEPS):
        if done:
            text, info = ours.reset()
            expected, score, played = theirs.reset(), 0, list[str]()
            compare(text, False, info, expected, played)
        words = " ".join(str(rng.choice(story.words)) for _ in range(rng.integers(0, 5)))
        command = str(rng.choice([*story.commands, "look", words]))
        text, _, terminated, truncated, info = ours.step(command)
        if "refused" in info:
            assert (META & set(command.split()) or len(command) > MAX_LENGTH) and text == NO_SENSE
            refused += 1
        else:
            played.append(command)
            expected = theirs.step(command)
            if theirs.score_before is not None:
                assert theirs.score_before == score
            score = info["score"]
            if truncated:
                info["admissible_commands"] = expected["commands"]
            compare(text, terminated, info, expected, played)
            ends |= {end for end in story.ends if end in text}
        done = terminated or truncated
    assert ends == set(story.ends)
    assert refused < STEPS / 2
    ours.close()


def compare(text: str, terminated: bool, info: dict[str, Any], expected: dict[str, Any], played: list[str]) -> None:
    outputs = outputs_of(text, terminated, info)
    outputs.pop("score")
    if expected["done"]:  # Jericho's interpreter ignores that a story quits, and continues
        assert expected["text"].startswith(outputs["text"])
        expected = {**expected, "text": outputs["text"]}
    assert outputs == expected, played


def test_listed_commands_that_the_interpreter_cannot_take_are_not_offered(tmp_path: Path) -> None:
    """An accent, a backslash, and a name of 188 characters. One warning tells of them all."""
    ours = TextWorld(compile_game("unsendable names", tmp_path))
    with pytest.warns(RuntimeWarning, match=r"tw-unusual.z8: the interpreter cannot take commands such as '.*'; they"):
        ours.reset()
    for command in ("look", "open back\\slash", "take clé from back\\slash", "inventory"):  # without a second warning
        _, _, terminated, truncated, info = ours.step(command)
        assert ("refused" in info) is (not command.isalpha())
        assert not terminated and not truncated
    listed = set(ours._response.admissible_commands) - set(info["admissible_commands"])
    assert {"open back\\slash", "examine back\\slash"} < listed
    assert all(len(command) > 198 for command in listed if "back" not in command)
    assert any(len(command) > 198 for command in listed)
    ours.close()
