"""A Gymnasium environment for TextWorld and Z-machine games."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from games import files
from games.base import Info, StepResult, TextGame
from games.errors import GameError, nearest
from games.textworld.engines.command_filter import (
    CommandFilter,
    FreeTextFilter,
    ListedFilter,
    can_be_sent,
    may_list_unsendable,
)
from games.textworld.engines.protocol import BANNER_END, CONSTANT_INFOS, INFOS, Engine, EngineResponse
from games.textworld.engines.subprocess_engine import SubprocessEngine, create_engine
from games.textworld.generation import textnav
from games.textworld.upstream import engine_choice
from games.textworld.validation import game_file
from games.untrusted_files import parse_json, read_text

T = TypeVar("T")
MIN_TURN_LIMIT = 100
_FAILED: set[Path] = set()  # game files whose engine has failed in this process
_WARNED: set[Path] = set()  # game files about which this process has warned
# the characters that a story without TextWorld's `.json` may print, in addition to ASCII
LATIN_CHARACTERS = bytes(range(128, 256)).decode("cp1252", "ignore")
ALWAYS_INFOS = ("admissible_commands", "score", "max_score", "won", "lost", "moves", "objective")
TURN_INFOS = ("feedback", "last_command")  # the last command is None if the filter rejected it
ALL_INFOS = (*ALWAYS_INFOS, *TURN_INFOS, *INFOS, *CONSTANT_INFOS)  # the entries that the argument `infos` may name


class TextWorld(TextGame):
    """Environment that plays the game in one file.

    A filter rejects unsafe commands. A rejected command costs a turn, and `info["refused"]` holds the reason.

    * `path`: a TextWorld game (`NAME.z8` and `NAME.json` in one folder), another Z-machine game (`.z1` to `.z8`), or a
      `.tw-pddl` game of ALFWorld.
    * `max_turns`: by default three times the length of the walkthrough, but at least 100.
    * `infos`: additional entries of `info`, named as in TextWorld's `EnvInfos`, such as `inventory`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
        engine: str | None = None,
    ) -> None:
        engine = engine_choice(engine)
        for name in infos:
            if name not in ALL_INFOS:
                raise GameError(f"infos: TextWorld games have no entry {name!r}; {nearest(name, ALL_INFOS)}")
        self.path = Path(path).absolute()
        origin = game_file.check(self.path)
        self._is_plain = origin == game_file.PLAIN
        record = read_text(self.path.with_suffix(".json")) if origin in (game_file.OURS, game_file.FOREIGN) else ""
        self._observed = _observed_setting(record)
        needed_infos = (*infos, *(textnav.TURN_TEXT_INFOS if self._observed else ()))
        self._response: EngineResponse
        self._engine: Engine = self._call_engine(
            _make_engine, engine, self.path, [name for name in INFOS if name in needed_infos], origin
        )
        game_info = self._engine.game_info
        self._constants = {"max_score": game_info.max_score, "objective": game_info.objective}
        self._constant_lists = {name: getattr(game_info, name) for name in CONSTANT_INFOS if name in infos}
        self._engine_infos = tuple(name for name in INFOS if name in infos)
        self._turn_infos = tuple(name for name in TURN_INFOS if name in infos)
        self._filter: CommandFilter | FreeTextFilter | ListedFilter = CommandFilter(game_info.command_templates)
        if origin in (game_file.PLAIN, game_file.PDDL):
            self._filter = FreeTextFilter() if self._is_plain else ListedFilter()
        self._lists_unsendable = may_list_unsendable(game_info.entities, game_info.command_templates)
        limit = max(MIN_TURN_LIMIT, 3 * len(game_info.walkthrough)) if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=record or LATIN_CHARACTERS, render_mode=render_mode)

    def close(self) -> None:
        """Free resources. The environment can be reset afterwards."""
        super().close()
        self._engine.close()

    def needs_interpreter(self, command: str) -> bool:
        """Return whether the response to `command` must be computed, which is slow."""
        verdict = self._filter.check(command, self._response.admissible_commands)
        return verdict.command is not None and not self._engine.is_cached(verdict.command)

    def _call_engine(self, function: Callable[..., T], *args: Any) -> T:
        """Return `function(*args)`. If the function raises GameError, add the game file to `_FAILED`."""
        try:
            return function(*args)
        except GameError:
            _FAILED.add(self.path)
            raise

    def _start(self, options: dict[str, Any]) -> StepResult:
        self._response = self._call_engine(self._engine.reset)
        _, banner, opening = self._response.text.partition(BANNER_END)
        if banner and self._is_plain:
            self._warn(
                f"this is a game of TextWorld, but {self.path.with_suffix('.json').name} beside it is missing: without "
                "it, the commands that are offered are the same at every turn, and the objective and the walkthrough "
                "are unknown"
            )
        result = self._result((opening if banner else self._response.text).strip())
        objective = self._constants["objective"]
        if self._observed and objective:
            result.text = f"{objective}\n\n{result.text}"
        result.info["extra.walkthrough"] = list(self._engine.game_info.walkthrough)
        return result

    def _play(self, command: str) -> StepResult:
        previous_response = self._response
        if not self._engine.is_cached(command):
            verdict = self._filter.check(command, previous_response.admissible_commands)
            if verdict.command is None:
                result = self._result(verdict.reply)
                result.info["refused"] = verdict.reason
                return result
            command = verdict.command
        try:  # not `_call_engine`: one more call slows a cached step by several percent
            response = self._response = self._engine.step(command)
        except GameError:
            _FAILED.add(self.path)
            raise
        return self._result(response.text, command, reward=response.score - previous_response.score)

    def _result(self, text: str, command: str | None = None, reward: int = 0) -> StepResult:
        response = self._response
        if self._observed:
            text = textnav.turn_text(response, self._observed)
        info: Info = {"score": response.score, **self._constants}
        for name in self._engine_infos:
            value = getattr(response, name)
            info[name] = list(value) if name == "policy_commands" else value
        for name in self._turn_infos:
            info[name] = text if name == "feedback" else command
        for name, entries in self._constant_lists.items():
            info[name] = list(entries)
        won, lost, commands = response.won, response.lost, response.admissible_commands
        if self._lists_unsendable:
            commands = self._sendable(commands)
        return StepResult(
            text=text,
            reward=reward,
            commands=commands,
            won=won,
            lost=lost,
            terminated=won or lost or response.ended,
            info=info,
        )

    def _sendable(self, commands: tuple[str, ...]) -> tuple[str, ...]:
        sendable = tuple(filter(can_be_sent, commands))
        if len(sendable) < len(commands):
            unsendable = next(command for command in commands if not can_be_sent(command))
            self._warn(f"the interpreter cannot take commands such as {unsendable[:80]!r}; they are not offered")
        return sendable

    def _warn(self, message: str) -> None:
        if self.path not in _WARNED:
            _WARNED.add(self.path)
            warnings.warn(f"{self.path.name}: {message}", RuntimeWarning, stacklevel=6)


def _observed_setting(record: str) -> str:
    """Return the game's setting `observed`, or an empty string if missing."""
    match parse_json(record, "the record")["metadata"].get("actde") if record else None:
        case {"family": "textnav", "settings": {"observed": "full" | "part" as observed}}:
            return str(observed)
    return ""  # also if another program wrote the record, with an `actde` entry of its own


def _make_engine(engine_name: str, path: Path, infos: Sequence[str], origin: str) -> Engine:
    if origin in (game_file.PLAIN, game_file.PDDL):
        return SubprocessEngine(path, infos, engine_name="jericho" if origin == game_file.PLAIN else "pddl")
    story = _with_tw_name(path)
    if origin == game_file.FOREIGN or path in _FAILED:
        return SubprocessEngine(story, infos, engine_name=engine_name)
    return create_engine(engine_name, story, infos)


def _with_tw_name(story: Path) -> Path:
    if story.name.startswith("tw-"):  # without this prefix, Jericho would begin every text with a status line
        return story
    data, record = story.read_bytes(), story.with_suffix(".json").read_bytes()
    copy = files.cache_folder("copies") / f"tw-{hashlib.sha256(data + record).hexdigest()[:24]}.z8"
    with files.disk_errors("copy the game file", f"see {files.VARIABLE}"):
        for file, content in ((copy.with_suffix(".json"), record), (copy, data)):
            with files.building(file):
                if not file.exists():
                    files.atomic_write(file, content)
    return copy
