"""TextWorld games behind our contract: one game file, played through TextWorld's own interpreter.

Commands pass the gatekeeper (`games/guard.py`) first and files are checked before they are loaded
(`games/gamefile.py`). What plays a game is an engine (`games/answers.py`): in this process where the file is ours,
in one of its own (`games/isolated.py`) where it is another's or has failed before.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games import gamefile, paths
from games.answers import INFOS, Answer, Engine
from games.base import Moment, TextGame
from games.errors import GameError, nearest
from games.guard import Guard
from games.isolated import IsolatedEngine, inner_engine

BANNER_END = "$$$$$$$$ \\$$$$$$$ \n"
"""The last line of the large TEXTWORLD that opens every game; it says nothing and costs hundreds of tokens."""
TURNS = 100
ENGINE = "stock"
"""What plays (a name of `games.isolated.INNER`)."""
_FAILED: set[Path] = set()
"""Files whose engine failed in this process."""


class TextWorld(TextGame):
    """A TextWorld game: `game` is a game file (`.z8`, or `.json` beside it) or `textworld:FAMILY?level=1&seed=7`.

    The reward of a command is the difference of scores. Winning and losing terminate; the turn limit
    truncates (default: 100, or three times the walkthrough where that is more). `infos` asks for the
    expensive entries of info (`inventory`, `description`, `policy_commands`, `intermediate_reward`; the last two
    say nothing in cooking games with `drop`); `score`, `max_score`, `won`, `lost`, `moves` and `objective` always
    come, and `extra.walkthrough` at reset. `moves` counts commands, understood or not. A command that the gatekeeper
    stops is answered as not understood, costs a turn, and leaves its reason in `info["refused"]`. Texts are
    stripped at both ends, and the opening comes without TextWorld's banner.
    """

    def __init__(self, game: str, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> None:
        for name in infos:
            if name not in INFOS:
                raise GameError(f"infos: TextWorld games have no {name!r} to ask for; {nearest(name, INFOS)}")
        self._asked = tuple(name for name in INFOS if name in infos)
        self.path = _locate(game)
        origin = gamefile.check(self.path)
        self._answer: Answer
        with _named_tw(self.path) as story, self._failures():
            self._engine = _engine_for(story, self._asked, alone=origin == gamefile.FOREIGN or self.path in _FAILED)
        self._facts = self._engine.facts
        self._guard = Guard(self._facts.command_templates)
        limit = max(TURNS, 3 * len(self._facts.walkthrough)) if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=self.path.with_suffix(".json").read_text("utf-8"))

    def close(self) -> None:
        """Free the interpreter; a second call does nothing, `reset` loads it again."""
        super().close()
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.close()

    def _start(self, options: dict[str, Any]) -> Moment:
        with self._failures():
            self._answer = self._engine.reset()
        _, banner, opening = self._answer.text.partition(BANNER_END)
        text = opening if banner else self._answer.text
        return self._moment(text, {"extra.walkthrough": list(self._facts.walkthrough)})

    def _play(self, command: str) -> Moment:
        verdict = self._guard.check(command, self._answer.admissible_commands)
        if verdict.command is None:
            return self._moment(verdict.reply, {"refused": verdict.reason})
        before = self._answer.score
        with self._failures():
            self._answer = self._engine.step(verdict.command)
        return self._moment(self._answer.text, {}, reward=self._answer.score - before)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """A file whose engine fails gets a process of its own from then on."""
        try:
            yield
        except GameError:
            _FAILED.add(self.path)
            raise

    def _moment(self, text: str, extra: dict[str, Any], reward: int = 0) -> Moment:
        answer = self._answer
        for name in self._asked:
            value = getattr(answer, name)
            extra[name] = list(value) if name == "policy_commands" else value
        known = {"score": answer.score, "max_score": self._facts.max_score, "objective": self._facts.objective}
        return Moment(
            text=text.strip(),
            reward=reward,
            commands=answer.admissible_commands,
            won=answer.won,
            lost=answer.lost,
            over=answer.won or answer.lost,
            extra={**known, **extra},
        )


def _engine_for(story: Path, infos: Sequence[str], *, alone: bool) -> Engine:
    """What plays `story`; `alone` in a process of its own, for files of others and those that failed before."""
    if alone:
        return IsolatedEngine(story, infos, inner=ENGINE)
    return inner_engine(ENGINE, story, infos)


def _locate(game: str) -> Path:
    from games.making import cached_game
    from games.specs import resolve

    spec = resolve(game)
    if len(spec) != 1 or spec[0].kind not in ("textworld", "file"):
        what = f"{len(spec)} games" if len(spec) != 1 else f"a {spec[0].kind} game"
        raise GameError(f"game={game!r}: expected one TextWorld game, got {what}")
    if spec[0].kind == "file":
        return gamefile.pair(Path(spec[0].target))[0]
    return cached_game(spec[0].target, dict(spec[0].settings))


@contextlib.contextmanager
def _named_tw(story: Path) -> Iterator[Path]:
    """The story under a name that begins with `tw-`: under any other, a status line is added to every text."""
    if story.name.startswith("tw-"):
        yield story
        return
    data, record = story.read_bytes(), story.with_suffix(".json").read_bytes()
    stem = f"tw-{hashlib.sha256(data + record).hexdigest()[:24]}"
    folder = paths.cache_folder("copies")
    with paths.disk_errors("copy the game file", f"see {paths.VARIABLE}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((f"{stem}.json", record), (f"{stem}.z8", data)):
            if not (folder / name).exists():
                paths.write_whole(folder / name, content)
    yield folder / f"{stem}.z8"
