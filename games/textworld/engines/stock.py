"""An engine that plays games in TextWorld's own environment."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games.errors import GameError
from games.textworld.engines.protocol import Engine, EngineResponse, game_info, intermediate_reward
from games.textworld.upstream.start import prepare_jericho, start, winning_policy


class StockEngine(Engine):
    """Plays a TextWorld game, given as `tw-NAME.z8` and `tw-NAME.json` in one folder.

    If `fast` is true, the engine skips redundant work of TextWorld.
    """

    def __init__(self, story: Path, infos: Sequence[str] = (), *, fast: bool = False) -> None:
        self._story, self._infos, self._fast = story, frozenset(infos), fast
        self._env: Any = None
        self.game_info = game_info(self._load()["game"])

    def reset(self) -> EngineResponse:
        if self._env is None:
            self._load()
        self._policy = None
        with self._game_errors("cannot begin this game"):
            state = self._env.reset()
        return self._response(state)

    def step(self, command: str) -> EngineResponse:
        with self._game_errors(f"fails in this game at {command!r}"):
            state, _, _ = self._env.step(command)
        return self._response(state)

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _load(self) -> Any:
        infos = {"admissible_commands", *self._infos}
        if "intermediate_reward" in infos:  # computed by `_response`, because TextWorld's code may raise TypeError
            infos = infos - {"intermediate_reward"} | {"policy_commands"}
        with self._game_errors("cannot read this game"):
            self._env = start(self._story, infos, fast=self._fast)
            return self._env.reset()

    @contextlib.contextmanager
    def _game_errors(self, failure: str) -> Iterator[None]:
        prepare_jericho()
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise GameError(f"{self._story}: TextWorld {failure} ({type(error).__name__})") from error

    def _response(self, state: Any) -> EngineResponse:
        policy_before, self._policy = self._policy, winning_policy(state)
        won, lost = bool(state["won"]), bool(state["lost"])
        infos, reward = self._infos, intermediate_reward(policy_before, self._policy, won=won, lost=lost)
        return EngineResponse(
            text=state["feedback"].strip(),
            score=int(state["score"]),
            won=won,
            lost=lost,
            admissible_commands=tuple(state["admissible_commands"]),
            policy_commands=tuple(state.get("policy_commands") or ()) if "policy_commands" in infos else None,
            intermediate_reward=reward if "intermediate_reward" in infos else None,
            description=(state.get("description") or "").strip() if "description" in infos else None,
            inventory=(state.get("inventory") or "").strip() if "inventory" in infos else None,
        )
