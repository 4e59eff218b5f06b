"""An engine that plays `.tw-pddl` games, such as those of ALFWorld, with TextWorld's environment for PDDL.

A planner computes the admissible commands and the commands that win. A game has one quest, so the score is 1 after a
win and otherwise 0. There is no way to lose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games.errors import GameError, first_line
from games.textworld.engines.protocol import EngineResponse, GameInfo, intermediate_reward
from games.textworld.upstream import pddl_start
from games.textworld.validation import pddl_file


class PddlEngine:
    """Plays the game in the file `story`. Use this engine in a child process, because a game can crash the planner.

    `infos` may name `policy_commands` and `intermediate_reward`, for which the planner searches at every turn. If they
    are requested and the file has no walkthrough, the walkthrough is the plan at the start.
    """

    def __init__(self, story: Path, infos: Sequence[str] = ()) -> None:
        self._story, self._infos = story, frozenset(infos)
        if unknown := self._infos - set(pddl_file.INFOS):
            raise GameError(f"{story}: a PDDL game has no {min(unknown)!r} to ask for")
        self._policy: tuple[str, ...] | None = None
        game = pddl_file.read(story)
        with self._game_errors("cannot read this game"):
            self._env = pddl_start.start(game, {"admissible_commands", *(["policy_commands"] if infos else [])})
            state = self._env.reset()
            objective = pddl_start.game_text(self._env, "task")
        walkthrough = game.walkthrough or state.get("policy_commands") or ()
        self.game_info = GameInfo(max_score=1, objective=objective.strip(), walkthrough=tuple(walkthrough))

    def reset(self) -> EngineResponse:
        self._policy = None
        with self._game_errors("cannot begin this game"):
            return self._response(self._env.reset())

    def step(self, command: str) -> EngineResponse:
        with self._game_errors(f"fails in this game at {command!r}"):
            return self._response(self._env.step(command)[0])

    def is_cached(self, command: str) -> bool:
        return False

    def close(self) -> None:
        self._env.close()

    @contextlib.contextmanager
    def _game_errors(self, what: str) -> Iterator[None]:
        """Convert the exceptions that a malformed game causes to a GameError."""
        try:
            yield
        except pddl_start.file_errors() as error:
            kind = "" if isinstance(error, SystemExit) else f"{type(error).__name__}: "
            raise GameError(f"{self._story}: TextWorld {what} ({kind}{first_line(error):.200})") from error

    def _response(self, state: Any) -> EngineResponse:
        before = self._policy
        won = bool(state["won"])
        policy = self._policy = tuple(state["policy_commands"]) if self._infos else None
        return EngineResponse(
            text=state["feedback"].strip(),
            score=int(won),
            won=won,
            admissible_commands=tuple(filter(_is_playable, state["admissible_commands"])),
            policy_commands=policy if "policy_commands" in self._infos else None,
            intermediate_reward=intermediate_reward(before, policy, won=won, lost=False)
            if "intermediate_reward" in self._infos
            else None,
        )


def _is_playable(command: str) -> bool:
    """Return whether a command of the game can be played. TextWorld strips commands before it compares them."""
    return command != "" and command == command.strip() and command.isprintable()
