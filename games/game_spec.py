"""The specification from which a game is made."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from games import external_games
from games.external_env import ExternalEnv
from games.parameters import Value
from games.suites import make_suite_game
from games.textworld import pddl_file
from games.textworld.engines.protocol import INFOS
from games.textworld.validation.game_file import OURS, check, is_plain

if TYPE_CHECKING:
    import gymnasium

# the games without a file: name -> class. A class is imported only when its game is named.
BUILT_IN = {
    "bandit": "games.bandit:Bandit",
    "completion": "games.completion:Completion",
    "ipd": "games.ipd:PrisonersDilemma",
}


@dataclass(frozen=True, slots=True)
class GameSpec:
    """The specification from which `make` creates one game.

    Attributes:
        name: the canonical GAME string.
        kind: kind of game. `file` is a game file, `suite` a third-party suite, and `open` a Gymnasium environment.
        target: the TextWorld family, file path, class or suite game, or an empty string for a built-in game.
        settings: the settings in the GAME string.
        level: difficulty level of a `textworld` game or a game from a manifest.
        hash: the game's hash in its manifest, or None.
        step_seconds: time limit in seconds for each reset and step. A game with this limit runs in a child process.
    """

    name: str
    kind: Literal["bandit", "completion", "ipd", "textworld", "file", "suite", "open"]
    target: str = ""
    settings: tuple[tuple[str, Value], ...] = ()
    level: int | None = field(default=None, compare=False)
    hash: str | None = field(default=None, compare=False)
    step_seconds: float | None = field(default=None, compare=False)

    def make(
        self, *, max_turns: int | None = None, infos: Sequence[str] = (), render_mode: str | None = None
    ) -> "gymnasium.Env[str, str]":
        """Make the game. `max_turns` replaces the game's own turn limit. `infos` names optional entries of `info`."""
        keywords: dict[str, Any] = {"max_turns": max_turns, "infos": infos, "render_mode": render_mode}
        if self.step_seconds is not None:
            from games.process_game import ProcessGame

            return ProcessGame(self, self.step_seconds, **keywords)
        if self.kind in BUILT_IN:
            game_class: Callable[..., gymnasium.Env[str, str]] = resolve_name(BUILT_IN[self.kind])
            return game_class(**dict(self.settings), max_turns=max_turns, render_mode=render_mode)
        if self.kind == "suite":
            return ExternalEnv(make_suite_game(self.target, **dict(self.settings), **keywords), self.name)
        if self.kind == "open":
            return external_games.make(self.target, dict(self.settings), max_turns=max_turns, render_mode=render_mode)
        from games.textworld.env import TextWorld

        story = self.story()
        if story.suffix == pddl_file.SUFFIX:
            infos = [name for name in infos if name in pddl_file.INFOS or name not in INFOS]
        elif is_plain(story):  # a Z-machine file without TextWorld's record
            infos = [name for name in infos if name not in INFOS]
        return TextWorld(story, max_turns=max_turns, infos=infos, render_mode=render_mode)

    def story(self) -> Path:
        """Return the path of the game file. A `textworld` game is generated if necessary."""
        if self.kind == "file":
            return Path(self.target)
        from games.textworld.generation.make_game import cached_game

        return cached_game(self.target, dict(self.settings))

    @property
    def has_new_words(self) -> bool:
        """Whether the game may print words outside the vocabulary of our games."""
        is_file = self.kind == "file" and self.hash is None  # `load_manifest` has verified a hash
        return self.kind in ("open", "suite") or (is_file and check(Path(self.target)) != OURS)


def offers_commands(spec: GameSpec) -> bool:
    """Return whether a game has admissible commands at its start."""
    if spec.kind == "suite":
        return not spec.target.startswith("textarena:") or "choices" in dict(spec.settings)
    with closing(spec.make()) as env:
        return bool(env.reset(seed=0)[1]["admissible_commands"])
