"""GAME strings: from `textworld:simple?level=1&seed=100..119`, a file or a folder to a list of games.

Resolving is cheap and imports no game: generating, checking and loading happen in `GameSpec.make`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from games.errors import GameError, nearest
from games.parameters import Parameter, Value, format_settings, parse_settings, split_query
from games.textworld.generation.families import FAMILIES, Family, family
from games.textworld.validation.game_file import STORIES

if TYPE_CHECKING:
    import gymnasium

    from games.textworld.generation.manifest import Entry

MAX_GAMES = 100_000
RANGE = re.compile(r"([0-9]{1,10})\.\.([0-9]{1,10})")
RANGED = ("level", "seed")
AND = " + "
"""Between several GAMEs in one string."""


@dataclass(frozen=True, slots=True)
class GameSpec:
    """Exactly one game, not yet made."""

    name: str
    """Canonical GAME string: `resolve(name)` gives this spec again."""
    kind: Literal["bandit", "ipd", "textworld", "file"]
    target: str
    """The family of a `textworld` game, the path of a `file`, '' otherwise."""
    settings: tuple[tuple[str, Value], ...] = ()
    """What the GAME string sets, in canonical order."""
    level: int | None = field(default=None, compare=False)
    """Its family's level, by the GAME string or the manifest; None where neither says it."""
    hash: str | None = field(default=None, compare=False)
    """Its canonical hash, by the manifest; see `games.game_hash.game_hash`."""

    def make(
        self, *, max_turns: int | None = None, infos: Sequence[str] = (), render_mode: str | None = None
    ) -> gymnasium.Env[str, str]:
        """The game itself; a TextWorld game is generated and loaded now.

        `max_turns` replaces the game's own limit, `infos` asks for further entries of info (see
        `games.textworld.env.TextWorld`; games that lack them ignore it), `render_mode` is `ansi` or None.
        """
        values: dict[str, Any] = dict(self.settings)
        if self.kind == "bandit":
            from games.bandit import Bandit

            return Bandit(**values, max_turns=max_turns, render_mode=render_mode)
        if self.kind == "ipd":
            from games.ipd import PrisonersDilemma

            return PrisonersDilemma(**values, max_turns=max_turns, render_mode=render_mode)
        from games.textworld.env import TextWorld

        return TextWorld(self.name, max_turns=max_turns, infos=infos, render_mode=render_mode)


def resolve(game: str, *, split: str | None = None) -> list[GameSpec]:
    """All games that a GAME string names, in order; GameError in one line where it names none.

    GAME is `bandit` or `ipd`, with settings as in `ipd?payoff=post&start=defect`; a game file; a folder of
    them or a `manifest.jsonl`; or `textworld:FAMILY?level=1&seed=7&...`, where `level` and `seed` may be
    ranges (`seed=100..119` is twenty games). Several joined by ` + ` are mixed: whoever plays their games in order
    meets those of each GAME at even distances. `split` keeps a manifest's games of that split.
    """
    if not isinstance(game, str):
        raise TypeError(f"a GAME is a str, got {type(game).__name__}")
    if AND in game:
        return mixed([resolve(part.strip(), split=split) for part in game.split(AND)])
    if game.startswith("textworld:"):
        return _generated(game)
    head, _, query = game.partition("?")
    if head in ("bandit", "ipd"):
        return [_small(head, query)]
    path = Path(game).expanduser()
    if game.strip() and "\0" not in game and path.exists():
        return _files(path.absolute(), split)
    if head in FAMILIES:
        raise GameError(f"no game is called {game!r}; did you mean 'textworld:{game}'?")
    if "/" in game or path.suffix in (*STORIES, ".json", ".jsonl"):
        raise GameError(f"{game}: no such file or folder")
    known = ("bandit", "ipd", "textworld", *(f"textworld:{name}" for name in FAMILIES))
    raise GameError(f"no game is called {game!r}; {nearest(head, known)}")


def mixed(several: Sequence[Sequence[GameSpec]]) -> list[GameSpec]:
    """All games of several lists, those of each evenly spread over the whole and in their order."""
    placed = [((i + 0.5) / len(some), n, spec) for n, some in enumerate(several) for i, spec in enumerate(some)]
    return [spec for *_, spec in sorted(placed, key=lambda place: place[:2])]


def _small(head: str, query: str) -> GameSpec:
    values = parse_settings(small_table(head), split_query(query, head), head)
    kept = {s.name: values[s.name] for s in small_table(head) if values.get(s.name, s.default) != s.default}
    text = format_settings(small_table(head), kept)
    name = f"{head}?{text}" if text else head
    return GameSpec(name, "bandit" if head == "bandit" else "ipd", "", tuple(kept.items()))


def small_table(head: str) -> tuple[Parameter, ...]:
    """The settings of `bandit` or `ipd`."""
    from games import bandit, ipd

    return bandit.SETTINGS if head == "bandit" else ipd.SETTINGS


def _generated(game: str) -> list[GameSpec]:
    head, _, query = game.partition("?")
    chosen = family(head.removeprefix("textworld:"))
    words = split_query(query, head)
    ranges = [_range(chosen, name, words, head) for name in RANGED]
    count = len(ranges[0]) * len(ranges[1])
    if count > MAX_GAMES:
        raise GameError(f"{game}: {count} games are too many at once (at most {MAX_GAMES})")
    given = parse_settings(chosen.table, {k: v for k, v in words.items() if k not in RANGED}, head)
    return [_one(chosen, {"level": level, "seed": seed, **given}) for level, seed in itertools.product(*ranges)]


def _one(chosen: Family, given: Mapping[str, Value]) -> GameSpec:
    preset = chosen.complete({"level": given["level"]})
    chosen.complete(given)
    kept = {k: v for k, v in given.items() if k in RANGED or preset[k] != v}
    ordered = {setting.name: kept[setting.name] for setting in chosen.table if setting.name in kept}
    name = f"textworld:{chosen.name}?{format_settings(chosen.table, ordered)}"
    return GameSpec(name, "textworld", chosen.name, tuple(ordered.items()), level=int(str(given["level"])))


def _range(chosen: Family, name: str, words: Mapping[str, str], game: str) -> Sequence[int]:
    setting = next(setting for setting in chosen.table if setting.name == name)
    text = words.get(name, setting.format(setting.default if setting.default is not None else 0))
    match = RANGE.fullmatch(text.strip())
    ends = match.groups() if match else (text, text)
    low, high = (int(str(parse_settings((setting,), {name: end}, game)[name])) for end in ends)
    if low > high:
        raise GameError(f"{game}: {name}={text}: expected a range from low to high")
    return range(low, high + 1)


def _files(path: Path, split: str | None) -> list[GameSpec]:
    if path.is_dir() and (path / "manifest.jsonl").is_file():
        path = path / "manifest.jsonl"
    if path.suffix == ".jsonl":
        from games.textworld.generation.manifest import load_manifest

        return [_listed(entry) for entry in load_manifest(path, split=split)]
    if path.is_file():
        if path.suffix not in (*STORIES, ".json"):
            raise GameError(
                f"{path}: expected a game file (.z1 to .z8, or .json), a folder of them or a manifest.jsonl"
            )
        return [_file(path.with_suffix(".z8") if path.suffix == ".json" else path)]
    stories = sorted(path.glob("*.z[1-8]"))
    if not stories:
        raise GameError(f"{path}: the folder holds no game files (.z1 to .z8) and no manifest.jsonl")
    return [_file(story) for story in stories]


def _file(story: Path) -> GameSpec:
    return GameSpec(str(story), "file", str(story))


def _listed(entry: Entry) -> GameSpec:
    return replace(_file(entry.path), level=entry.level, hash=entry.hash)
