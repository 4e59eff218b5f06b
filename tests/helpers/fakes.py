"""A small game for tests of agents and of the runner: a corridor with optional faults."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium

import games


class Corridor(gymnasium.Env[str, str]):
    """The command `forward` moves and earns 1. Any other command earns 0. The end of the corridor is a win.

    After `limit` turns the episode is truncated, and the next episode continues at the same place. Any command at the
    place `trap` raises a GameError. Without `solved`, the game has no walkthrough. Resets are counted over all
    corridors, and a reset whose number is in `broken` raises a GameError.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompt": "? ", "terminator": "!"}  # noqa: RUF012
    opened: ClassVar[int] = 0
    closed: ClassVar[int] = 0
    resets: ClassVar[int] = 0

    def __init__(
        self, *, length: int, limit: int = 20, trap: int = -1, solved: bool = True, broken: Container[int] = ()
    ) -> None:
        self.length, self.limit, self.trap, self.solved, self.broken = length, limit, trap, solved, broken
        self.observation_space = gymnasium.spaces.Text(100)
        self.action_space = gymnasium.spaces.Text(100)
        Corridor.opened += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        Corridor.resets += 1
        if Corridor.resets in self.broken:
            raise games.GameError(f"reset {Corridor.resets} fails")
        self.turns = self.score = 0
        self.place = (options or {}).get("place", 0)
        info = self._info(over=False)
        if self.solved:
            info["extra.walkthrough"] = ["forward"] * (self.length - self.place)
        return f"You stand at {self.place}.", info

    def step(self, command: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.place == self.trap:
            raise games.GameError("the floor gives way")
        self.turns += 1
        gain = int(command == "forward")
        self.place += gain
        self.score += gain
        won = self.place >= self.length
        cut = not won and self.turns >= self.limit
        info = self._info(over=won or cut)
        if cut:
            info["continuation"] = {"place": self.place}
        return f"Now at {self.place}.", float(gain), won, cut, info

    def close(self) -> None:
        Corridor.closed += 1

    def _info(self, *, over: bool) -> dict[str, Any]:
        commands = [] if over else ["forward", "wait"]
        won = self.place >= self.length
        return {
            "admissible_commands": commands,
            "score": float(self.score),
            "max_score": float(self.length),
            "won": won,
            "lost": False,
            "moves": self.turns,
        }


@dataclass(frozen=True)
class CorridorSpec:
    """The part of `games.GameSpec` that the runner uses."""

    name: str
    length: int
    limit: int = 20
    trap: int = -1
    solved: bool = True
    broken: Container[int] = ()

    def make(
        self, *, max_turns: int | None = None, infos: Sequence[str] = (), render_mode: str | None = None
    ) -> Corridor:
        limit = self.limit if max_turns is None else max_turns
        return Corridor(length=self.length, limit=limit, trap=self.trap, solved=self.solved, broken=self.broken)
