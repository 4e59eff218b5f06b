"""TextWorld games and other Z-machine stories as text games: one game file each.

A file is checked before it is loaded (`validation/game_file.py`), and every command passes a filter
(`engines/command_filter.py`). An engine (`engines/protocol.py`) plays the game: in this process for files of ours, in
a child process (`engines/subprocess_engine.py`) for files of others and files that have failed before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from games import files
from games.base import Info, StepResult, TextGame
from games.errors import GameError, nearest
from games.textworld.engines.command_filter import CommandFilter, FreeTextFilter
from games.textworld.engines.protocol import CONSTANT, INFOS, Engine, EngineResponse
from games.textworld.engines.subprocess_engine import SubprocessEngine, inner_engine
from games.textworld.generation import textnav
from games.textworld.upstream import engine_choice
from games.textworld.validation import game_file

T = TypeVar("T")
BANNER_END = "$$$$$$$$ \\$$$$$$$ \n"
"""The last line of TextWorld's opening banner, which carries no information and costs hundreds of tokens."""
MIN_TURN_LIMIT = 100
_FAILED: set[Path] = set()
"""Files whose engine has failed in this process."""
LATIN = bytes(range(128, 256)).decode("cp1252", "ignore")
"""The characters beyond ASCII of a story without a record."""
ALWAYS = ("admissible_commands", "score", "max_score", "won", "lost", "moves", "objective")
"""Entries that info always holds; `infos` may name them."""
TURN = ("feedback", "last_command")
"""Entries about the last turn: its text, and the command that the game received, or None."""
KNOWN = (*ALWAYS, *TURN, *INFOS, *CONSTANT)


class TextWorld(TextGame):
    """A TextWorld game, `NAME.z8` with `NAME.json` beside it, or any other Z-machine story (`.z1` to `.z8`).

    `games/textworld/engines/jericho.py` says what is known of a story without a record.

    The reward of a command is the difference of scores. Winning and losing terminate; the turn limit truncates (by
    default 100 turns, or three times the walkthrough if that is more). `infos` requests further entries of info by
    TextWorld's names: the expensive ones (`inventory`, `description`, `policy_commands`, `intermediate_reward`; the
    last two are empty in cooking games with `drop`), those of the turn (`feedback`, `last_command`) and the constants
    (`command_templates`, `verbs`, `entities`, `typed_entities`). Info always holds `score`, `max_score`, `won`,
    `lost`, `moves` (commands, understood or not) and `objective`, and at reset `extra.walkthrough`. TextWorld's
    `facts`, `location`, `last_action` and `game` are not offered: they are objects of TextWorld or have no fixed
    order.

    A command that the filter rejects is answered as not understood, costs a turn, and leaves the reason in
    `info["refused"]`. Texts are stripped at both ends, and the opening text comes without TextWorld's banner.

    `engine` is `cached`, or `stock` for TextWorld's own environment, without a cache and without any patch of
    `games/textworld/upstream/`; None takes it from the environment variable ACTDE_ENGINE (default: cached).
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
            if name not in KNOWN:
                raise GameError(f"infos: TextWorld games have no entry {name!r}; {nearest(name, KNOWN)}")
        self.path = Path(path).absolute()
        origin = game_file.check(self.path)
        plain = origin == game_file.PLAIN
        record = "" if plain else self.path.with_suffix(".json").read_text("utf-8")
        self._observed = _observed(record)
        needed = (*infos, *(textnav.PARTS if self._observed else ()))
        self._response: EngineResponse
        self._engine: Engine = self._call_engine(
            _make_engine, engine, self.path, [name for name in INFOS if name in needed], origin
        )
        game_info = self._engine.game_info
        self._constants = {"max_score": game_info.max_score, "objective": game_info.objective}
        self._constant_lists = {name: getattr(game_info, name) for name in CONSTANT if name in infos}
        self._engine_infos = tuple(name for name in INFOS if name in infos)
        self._turn_infos = tuple(name for name in TURN if name in infos)
        self._filter = FreeTextFilter() if plain else CommandFilter(game_info.command_templates)
        limit = max(MIN_TURN_LIMIT, 3 * len(game_info.walkthrough)) if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=LATIN if plain else record, render_mode=render_mode)

    def close(self) -> None:
        """Free the interpreter; a second call does nothing, `reset` loads it again."""
        super().close()
        self._engine.close()

    def needs_interpreter(self, command: str) -> bool:
        """Whether this command runs the interpreter, which takes milliseconds instead of microseconds."""
        verdict = self._filter.check(command, self._response.admissible_commands)
        return verdict.command is not None and not self._engine.is_cached(verdict.command)

    def _call_engine(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the engine; where it fails, later engines of this file run in a child process."""
        try:
            return function(*args)
        except GameError:
            _FAILED.add(self.path)
            raise

    def _start(self, options: dict[str, Any]) -> StepResult:
        self._response = self._call_engine(self._engine.reset)
        _, banner, opening = self._response.text.partition(BANNER_END)
        result = self._result((opening if banner else self._response.text).strip())
        objective = self._constants["objective"]
        if self._observed and objective:
            result.text = f"{objective}\n\n{result.text}"
        result.info["extra.walkthrough"] = list(self._engine.game_info.walkthrough)
        return result

    def _play(self, command: str) -> StepResult:
        before = self._response
        if not self._engine.is_cached(command):
            verdict = self._filter.check(command, before.admissible_commands)
            if verdict.command is None:
                result = self._result(verdict.reply)
                result.info["refused"] = verdict.reason
                return result
            command = verdict.command
        self._response = self._call_engine(self._engine.step, command)
        return self._result(self._response.text, command, reward=self._response.score - before.score)

    def _result(self, text: str, command: str | None = None, reward: int = 0) -> StepResult:
        response = self._response
        if self._observed:
            text = textnav.state(response, self._observed)
        info: Info = {"score": response.score, **self._constants}
        for name in self._engine_infos:
            value = getattr(response, name)
            info[name] = list(value) if name == "policy_commands" else value
        for name in self._turn_infos:
            info[name] = text if name == "feedback" else command
        for name, entries in self._constant_lists.items():
            info[name] = list(entries)
        won, lost = response.won, response.lost
        return StepResult(
            text=text,
            reward=reward,
            commands=response.admissible_commands,
            won=won,
            lost=lost,
            terminated=won or lost,
            info=info,
        )


def _observed(record: str) -> str:
    """The setting `observed` of a `textnav` game, full or part; "" for any other game."""
    match json.loads(record)["metadata"].get("actde") if record else None:
        case {"family": "textnav", "settings": {"observed": "full" | "part" as observed}}:
            return str(observed)
    return ""  # also where the mark in a foreign record has another form


def _make_engine(name: str, path: Path, infos: Sequence[str], origin: str) -> Engine:
    """Load a checked file."""
    if origin == game_file.PLAIN:
        return SubprocessEngine(path, infos, inner="jericho")
    story = _with_tw_name(path)
    if origin == game_file.FOREIGN or path in _FAILED:
        return SubprocessEngine(story, infos, inner=name)
    return inner_engine(name, story, infos)


def _with_tw_name(story: Path) -> Path:
    """The story, or a copy whose name begins with `tw-`: under other names every text gets a status line."""
    if story.name.startswith("tw-"):
        return story
    data, record = story.read_bytes(), story.with_suffix(".json").read_bytes()
    copy = files.cache_folder("copies") / f"tw-{hashlib.sha256(data + record).hexdigest()[:24]}.z8"
    with files.disk_errors("copy the game file", f"see {files.VARIABLE}"):
        copy.parent.mkdir(parents=True, exist_ok=True)
        for file, content in ((copy.with_suffix(".json"), record), (copy, data)):
            if not file.exists():
                files.atomic_write(file, content)
    return copy
