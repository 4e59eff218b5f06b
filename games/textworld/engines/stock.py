"""TextWorld's own environment as an engine: nothing remembered, nothing taken from elsewhere. The reference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from games.errors import GameError
from games.textworld.engines.protocol import EngineResponse, GameInfo, intermediate_reward
from games.textworld.upstream.start import start


def facts(state: Any) -> GameInfo:
    """What does not change, out of TextWorld's state at the start of a game."""
    return GameInfo(
        max_score=int(state["max_score"]),
        objective=state["objective"],
        walkthrough=tuple(state.get("extra.walkthrough") or ()),
        command_templates=tuple(state["command_templates"]),
        verbs=tuple(state["verbs"]),
        entities=tuple(state["entities"]),
        typed_entities=tuple(map(tuple, state["typed_entities"])),
    )


class StockEngine:
    """One interpreter for one episode; `story` is a `.z8` whose name begins with `tw-`, its record beside it.

    `infos` are names of `protocol.INFOS`. GameError where TextWorld cannot read the pair of files.
    """

    def __init__(self, story: Path, infos: Sequence[str] = ()) -> None:
        self._story, self._asked = story, frozenset(infos)
        self._env: Any = None
        self._way: Any = None
        self.facts = facts(self._load())

    def reset(self) -> EngineResponse:
        if self._env is None:
            self._load()
        self._way = None
        with self._faults("cannot begin this game"):
            return self._answer(self._env.reset())

    def step(self, command: str) -> EngineResponse:
        with self._faults(f"fails in this game at {command!r}"):
            return self._answer(self._env.step(command)[0])

    def remembers(self, command: str) -> bool:
        return False

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _load(self) -> Any:
        way = ("policy_commands",) if "intermediate_reward" in self._asked else ()
        with self._faults("cannot read this game"):
            self._env = start(self._story, ("admissible_commands", *self._asked - {"intermediate_reward"}, *way))
            return self._env.reset()

    @contextlib.contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        """What TextWorld raises when a game's files are not as it expects, as one line."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise GameError(f"{self._story}: TextWorld {what} ({type(error).__name__})") from error

    def _answer(self, state: Any) -> EngineResponse:
        asked, before, self._way = self._asked, self._way, state.get("_winning_policy")
        won, lost = bool(state["won"]), bool(state["lost"])
        reward = intermediate_reward(before, self._way, won=won, lost=lost)
        return EngineResponse(
            text=state["feedback"].strip(),
            score=int(state["score"]),
            won=won,
            lost=lost,
            admissible_commands=tuple(state["admissible_commands"]),
            policy_commands=tuple(state.get("policy_commands") or ()) if "policy_commands" in asked else None,
            intermediate_reward=reward if "intermediate_reward" in asked else None,
            description=(state.get("description") or "").strip() if "description" in asked else None,
            inventory=(state.get("inventory") or "").strip() if "inventory" in asked else None,
        )
