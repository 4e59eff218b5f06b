"""An engine for `.tw-pddl` games, such as those of ALFWorld."""

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
    """Plays a `.tw-pddl` game. A faulty file can crash the process, so run this engine in a child process."""

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
        return self._response(state, policy_before=None)

    def step(self, command: str) -> EngineResponse:
        with self._game_errors(f"fails in this game at {command!r}"):
            state = self._env.step(command)[0]
        policy_before = self._policy
        if state["won"]:
            self._policy = ()
        elif policy_before[1:] and command == policy_before[0]:
            self._policy = policy_before[1:]
        elif policy_before and self._infos:
            self._policy = pddl_start.plan(self._env, SEARCH_SECONDS)  # empty after a failure, until the next episode
        return self._response(state, policy_before=policy_before or None)

    def close(self) -> None:
        self._env.close()

    @contextlib.contextmanager
    def _game_errors(self, failure: str) -> Iterator[None]:
        try:
            yield
        except pddl_start.file_errors() as error:
            reason = first_line(error) if isinstance(error, GameError | SystemExit) else described(error)
            raise GameError(f"{self._story}: TextWorld {failure} ({reason})") from error

    def _response(self, state: Any, policy_before: tuple[str, ...] | None) -> EngineResponse:
        won, policy = bool(state["won"]), self._policy
        reward = intermediate_reward(policy_before, policy or None, won=won, lost=False)
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
