"""An engine for `.tw-pddl` games, such as those of ALFWorld.

The score is 1 after a win, and otherwise 0. There is no way to lose.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games.errors import GameError, described, first_line
from games.textworld import pddl_file
from games.textworld.engines.protocol import Engine, EngineResponse, GameInfo, intermediate_reward
from games.textworld.upstream import pddl_start

SEARCH_SECONDS = 10  # the planner may take hours in large games


class PddlEngine(Engine):
    """Plays the game in the file `story`. Use it in a child process, because a game can crash the planner.

    `infos` may name `policy_commands` and `intermediate_reward`.
    """

    def __init__(self, story: Path, infos: Sequence[str] = ()) -> None:
        self._story, self._infos = story, frozenset(infos)
        if unknown := self._infos - set(pddl_file.INFOS):
            raise GameError(f"{story}: a PDDL game has no {min(unknown)!r} to ask for")
        game = pddl_file.read(story)
        with self._game_errors("cannot read this game"):
            self._env = pddl_start.start(game)
            self._env.reset()
            objective = pddl_start.game_text(self._env, "task")
        walkthrough = tuple(game.walkthrough or ())
        if self._infos and not walkthrough:
            walkthrough = pddl_start.plan(self._env, SEARCH_SECONDS)
        self.game_info = GameInfo(max_score=1, objective=objective.strip(), walkthrough=walkthrough)
        self._policy: tuple[str, ...] = ()

    def reset(self) -> EngineResponse:
        self._policy = self.game_info.walkthrough
        with self._game_errors("cannot begin this game"):
            state = self._env.reset()
        return self._response(state, before=None)

    def step(self, command: str) -> EngineResponse:
        with self._game_errors(f"fails in this game at {command!r}"):
            state = self._env.step(command)[0]
        before = self._policy
        if state["won"]:
            self._policy = ()
        elif before[1:] and command == before[0]:
            self._policy = before[1:]
        elif before and self._infos:
            self._policy = pddl_start.plan(self._env, SEARCH_SECONDS)  # empty after a failure, until the next episode
        return self._response(state, before=before or None)

    def close(self) -> None:
        self._env.close()

    @contextlib.contextmanager
    def _game_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except pddl_start.file_errors() as error:
            why = first_line(error) if isinstance(error, GameError | SystemExit) else described(error)
            raise GameError(f"{self._story}: TextWorld {what} ({why})") from error

    def _response(self, state: Any, before: tuple[str, ...] | None) -> EngineResponse:
        won, policy = bool(state["won"]), self._policy
        reward = intermediate_reward(before, policy or None, won=won, lost=False)
        return EngineResponse(
            text=state["feedback"].strip(),
            score=int(won),
            won=won,
            admissible_commands=tuple(filter(_is_playable, state["admissible_commands"])),
            policy_commands=policy if "policy_commands" in self._infos else None,
            intermediate_reward=reward if "intermediate_reward" in self._infos else None,
        )


def _is_playable(command: str) -> bool:
    # TextWorld strips a command before it searches the list
    return command != "" and command == command.strip() and command.isprintable()
