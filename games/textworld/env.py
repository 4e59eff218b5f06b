"""TextWorld games behind our contract, and Z-machine stories without TextWorld's extras: one game file each.

Commands pass the gatekeeper (`command_filter.py`) first and files are checked before they are loaded
(`game_file.py`). What plays a game is an engine (`protocol.py`): in this process where the file is ours,
in one of its own (`games/textworld/engines/subprocess_engine.py`) where it is another's or has failed before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games import files
from games.base import StepResult, TextGame
from games.errors import GameError, nearest
from games.textworld.engines.command_filter import CommandFilter
from games.textworld.engines.free_text_filter import FreeGuard
from games.textworld.engines.protocol import CONSTANT, INFOS, Engine, EngineResponse
from games.textworld.engines.subprocess_engine import IsolatedEngine, inner_engine
from games.textworld.generation import textnav
from games.textworld.validation import game_file

BANNER_END = "$$$$$$$$ \\$$$$$$$ \n"
"""The last line of the large TEXTWORLD that opens every game; it says nothing and costs hundreds of tokens."""
TURNS = 100
ENGINE, STORY_ENGINE = "remembering", "story"
"""What plays TextWorld's games and other stories (names of `games.textworld.engines.subprocess_engine.INNER`)."""
_FAILED: set[Path] = set()
"""Files whose engine failed in this process."""
LATIN = bytes(range(128, 256)).decode("cp1252", "ignore")
"""The characters beyond ASCII of a story without a record."""
ALWAYS = ("admissible_commands", "score", "max_score", "won", "lost", "moves", "objective")
"""What info holds unasked; asking for it is harmless."""
TURN = ("feedback", "last_command")
"""What info gives of the last turn where it is asked for: its text; the command that the game got, or None."""
KNOWN = (*ALWAYS, *TURN, *INFOS, *CONSTANT)


class TextWorld(TextGame):
    """A TextWorld game: `game` is a game file (`.z8`, or `.json` beside it) or `textworld:FAMILY?level=1&seed=7`.

    Or any other Z-machine story (`.z1` to `.z8`): what is known of it then is in `games/textworld/engines/jericho.py`.

    The reward of a command is the difference of scores. Winning and losing terminate; the turn limit
    truncates (default: 100, or three times the walkthrough where that is more). `infos` asks by TextWorld's
    names for more entries of info: the expensive ones (`inventory`, `description`, `policy_commands`,
    `intermediate_reward`; the last two say nothing in cooking games with `drop`), the turn (`feedback`,
    `last_command`) and what never changes (`command_templates`, `verbs`, `entities`, `typed_entities`). `score`,
    `max_score`, `won`, `lost`, `moves` and `objective` always come, and `extra.walkthrough` at reset. `moves` counts
    commands, understood or not. A command that the gatekeeper stops is answered as not understood, costs a turn,
    and leaves its reason in `info["refused"]`. Texts are stripped at both ends, and the opening comes without
    TextWorld's banner. Left out of TextWorld's names: `facts`, `location`, `last_action` and `game`, which are
    its own objects or come in no fixed order.
    """

    def __init__(
        self,
        game: str,
        *,
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        for name in infos:
            if name not in KNOWN:
                raise GameError(f"infos: TextWorld games have no {name!r} to ask for; {nearest(name, KNOWN)}")
        self._asked = tuple(name for name in INFOS if name in infos)
        self._turn = tuple(name for name in TURN if name in infos)
        self.path = _locate(game)
        origin = game_file.check(self.path)
        plain = origin == game_file.PLAIN
        record = "" if plain else self.path.with_suffix(".json").read_text("utf-8")
        self._observed = _observed(record)
        needed = (*self._asked, *(textnav.PARTS if self._observed else ()))
        self._answer: EngineResponse
        self._engine: Engine
        try:
            self._engine = _engine_for(self.path, [name for name in INFOS if name in needed], origin)
        except GameError:
            _FAILED.add(self.path)
            raise
        self._facts = self._engine.facts
        self._known = {"max_score": self._facts.max_score, "objective": self._facts.objective}
        self._lists = {name: getattr(self._facts, name) for name in CONSTANT if name in infos}
        self._guard = FreeGuard() if plain else CommandFilter(self._facts.command_templates)
        limit = max(TURNS, 3 * len(self._facts.walkthrough)) if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=LATIN if plain else record, render_mode=render_mode)

    def close(self) -> None:
        """Free the interpreter; a second call does nothing, `reset` loads it again."""
        super().close()
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.close()

    def needs_interpreter(self, command: str) -> bool:
        """Would this command take milliseconds, and not microseconds?"""
        verdict = self._guard.check(command, self._answer.admissible_commands)
        return verdict.command is not None and not self._engine.remembers(verdict.command)

    def _start(self, options: dict[str, Any]) -> StepResult:
        try:
            self._answer = self._engine.reset()
        except GameError:
            _FAILED.add(self.path)
            raise
        _, banner, opening = self._answer.text.partition(BANNER_END)
        moment = self._moment((opening if banner else self._answer.text).strip())
        if self._observed and self._facts.objective:
            moment.text = f"{self._facts.objective}\n\n{moment.text}"
        moment.extra["extra.walkthrough"] = list(self._facts.walkthrough)
        return moment

    def _play(self, command: str) -> StepResult:
        before = self._answer
        if not self._engine.remembers(command):
            verdict = self._guard.check(command, before.admissible_commands)
            if verdict.command is None:
                moment = self._moment(verdict.reply)
                moment.extra["refused"] = verdict.reason
                return moment
            command = verdict.command
        try:
            answer = self._answer = self._engine.step(command)
        except GameError:
            _FAILED.add(self.path)
            raise
        return self._moment(answer.text, command, reward=answer.score - before.score)

    def _moment(self, text: str, command: str | None = None, reward: int = 0) -> StepResult:
        answer = self._answer
        if self._observed:
            text = textnav.state(answer, self._observed)
        extra = {"score": answer.score, **self._known}
        for name in self._asked:
            value = getattr(answer, name)
            extra[name] = list(value) if name == "policy_commands" else value
        for name in self._turn:
            extra[name] = text if name == "feedback" else command
        for name, entries in self._lists.items():
            extra[name] = list(entries)
        won, lost = answer.won, answer.lost
        return StepResult(
            text=text,
            reward=reward,
            commands=answer.admissible_commands,
            won=won,
            lost=lost,
            over=won or lost,
            extra=extra,
        )


def _observed(record: str) -> str:
    """How much of a state a game of the family `textnav` shows, by its record: full or part; "" for any other game."""
    match json.loads(record)["metadata"].get("actde") if record else None:
        case {"family": "textnav", "settings": {"observed": "full" | "part" as observed}}:
            return str(observed)
    return ""  # also where a foreign record has a mark of another form


def _engine_for(path: Path, infos: Sequence[str], origin: str) -> Engine:
    """What plays a checked file; in a process of its own those of others and those that failed before."""
    if origin == game_file.PLAIN:
        return IsolatedEngine(path, infos, inner=STORY_ENGINE)
    with _named_tw(path) as story:
        if origin == game_file.FOREIGN or path in _FAILED:
            return IsolatedEngine(story, infos, inner=ENGINE)
        return inner_engine(ENGINE, story, infos)


def _locate(game: str) -> Path:
    from games.specs import resolve
    from games.textworld.generation.make_game import cached_game

    spec = resolve(game)
    if len(spec) != 1 or spec[0].kind not in ("textworld", "file"):
        what = f"{len(spec)} games" if len(spec) != 1 else f"a {spec[0].kind} game"
        raise GameError(f"game={game!r}: expected one TextWorld game, got {what}")
    if spec[0].kind == "file":
        path = Path(spec[0].target)
        return path if game_file.is_plain(path) else game_file.pair(path)[0]
    return cached_game(spec[0].target, dict(spec[0].settings))


@contextlib.contextmanager
def _named_tw(story: Path) -> Iterator[Path]:
    """The story under a name that begins with `tw-`: under any other, a status line is added to every text."""
    if story.name.startswith("tw-"):
        yield story
        return
    data, record = story.read_bytes(), story.with_suffix(".json").read_bytes()
    stem = f"tw-{hashlib.sha256(data + record).hexdigest()[:24]}"
    folder = files.cache_folder("copies")
    with files.disk_errors("copy the game file", f"see {files.VARIABLE}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((f"{stem}.json", record), (f"{stem}.z8", data)):
            if not (folder / name).exists():
                files.atomic_write(folder / name, content)
    yield folder / f"{stem}.z8"
