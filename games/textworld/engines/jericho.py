"""An engine that plays any Z-machine game with Jericho."""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from games.errors import GameError
from games.files import scratch_folder
from games.textworld.engines.protocol import BANNER_END, Engine, EngineResponse, GameInfo
from games.textworld.upstream import opcodes
from games.textworld.upstream.start import prepare_jericho

SEED = 1  # every episode draws the same random numbers
# Jericho's own search for valid actions supports only 57 stories, and is slow
COMMON_COMMANDS = ("north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest",
                   "up", "down", "in", "out", "look", "inventory", "wait")  # fmt: skip
STATUS_LINE = re.compile(r"\A>?[^\n]*\s(?:Score: *-?\d+ +Moves: *\d+|Time: *\d+:\d+ *[ap]m)\s*\n", re.IGNORECASE)
PROMPT = re.compile(r"(?:\A|\n)>(?:\s{8,}[^\n]*)?\s*\Z")  # at the end of an output, perhaps with a status line
CLOSING_LINE = re.compile(r"^ *\*\*\* *([^*\n]+?) *\*\*\* *$", re.MULTILINE)  # such as `*** You have won ***`
RESTART_OFFER = re.compile(
    r"\brestart\b(?:[^\n]|\n(?!\n))*?\b(?:quit|exit|end|restore|undo)\b[^\n]*([?:>.])[)>\s]*\Z", re.I
)
"""Matches an offer to RESTART or QUIT in the last paragraph of an output."""
WINNING_WORDS = re.compile(r"\b(?:won|win|victory|the end)\b", re.IGNORECASE)


class JerichoEngine(Engine):
    """Plays a Z-machine game. A faulty file can crash the process, so run this engine in a child process."""

    _env: Any = None
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def __init__(self, story: Path, infos: Sequence[str] = ()) -> None:
        if infos:
            raise GameError(f"{story}: a story without TextWorld's record has no {infos[0]!r} to ask for")
        self._story, self._story_bytes = story, story.read_bytes()
        self._copy_stem = "story"
        if BANNER_END in self._load():
            self._copy_stem = "tw-story"  # Jericho supports a game of TextWorld only under such a name
            self._load()
        env: Any = self._env
        walkthrough_text = env.bindings.get("walkthrough", "")
        walkthrough = tuple(command.strip() for command in walkthrough_text.split("/")) if walkthrough_text else ()
        max_score = int(env.get_max_score()) if env.is_fully_supported else 0
        self.game_info = GameInfo(max_score=max_score, walkthrough=walkthrough)
        words, word_length = {entry.word for entry in env.get_dictionary()}, 6 if self._story_bytes[0] <= 3 else 9
        common_commands = [word for word in COMMON_COMMANDS if word[:word_length] in words] or COMMON_COMMANDS
        self._commands = tuple(sorted({*common_commands, *filter(None, walkthrough)}))  # no agent offers an empty line

    def reset(self) -> EngineResponse:
        return self._response(self._load() if self._env is None else self._output_of(self._env.reset))

    def step(self, command: str) -> EngineResponse:
        return self._response(self._output_of(self._env.step, command))

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            env.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    __del__ = close

    def _load(self) -> str:
        from jericho import FrotzEnv

        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="story-", dir=scratch_folder())
        # the interpreter reads the kind of game from the file's name, and reopens the file at every reset
        copy = Path(self._folder.name) / f"{self._copy_stem}.z{self._story_bytes[0]}"
        copy.write_bytes(self._story_bytes)
        prepare_jericho()
        self._env = FrotzEnv(str(copy), SEED)
        opcodes.repair(self._env)
        self._env.seed(self._env.bindings.get("seed", SEED))
        return self._output_of(self._env.reset)

    def _output_of(self, call: Callable[..., tuple[Any, ...]], *arguments: str) -> str:
        try:
            return str(call(*arguments)[0])
        except UnicodeDecodeError:
            raise GameError(f"{self._story}: the story prints characters that cannot be decoded") from None

    def _response(self, text: str) -> EngineResponse:
        env, text = self._env, text.strip()
        is_supported = env.is_fully_supported
        if not is_supported:  # Jericho knows neither its score nor its end
            text = PROMPT.sub("", STATUS_LINE.sub("", f"{text}\n")).removeprefix(">").strip()
        halted, offer = opcodes.is_halted(env), RESTART_OFFER.search(text)
        closing = CLOSING_LINE.search(text) if halted or offer else None
        won = bool(is_supported and env.victory()) or bool(closing and WINNING_WORDS.search(closing[1]))
        # Jericho reports every halt as a loss
        lost = not won and (closing is not None or bool(is_supported and not halted and env.game_over()))
        offers_restart = bool(offer and "RESTART" in offer[0] and offer[1] != "." and not is_supported)
        ended = not (won or lost) and (halted or offers_restart)
        return EngineResponse(
            text=text,
            score=int(env.get_score()) if is_supported else self._header_score(),
            won=won,
            lost=lost,
            ended=ended,
            admissible_commands=() if won or lost or ended else self._commands,
        )

    def _header_score(self) -> int:
        """Return the score of a story for Z-machine versions 1 to 3, and 0 for other stories."""
        if self._story_bytes[0] > 3 or self._story_bytes[1] & 2:  # the flag means that the story shows the time of day
            return 0
        # the score is the second global variable
        memory, address = self._env.get_state()[0], int.from_bytes(self._story_bytes[12:14], "big") + 2
        return int.from_bytes(bytes(memory[address : address + 2]), "big", signed=True)
