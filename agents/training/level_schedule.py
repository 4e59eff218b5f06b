"""Selects the games of a run, from all levels at once or level by level."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError
from games.game_strings import interleave


class LevelSchedule:
    """The games of a run and its current level.

    Args:
        promote: win rate at which the next level starts. None: all levels are played at once.
        episodes: number of recent episodes of a level over which the win rate is measured.
    """

    def __init__(self, specs: Sequence[games.GameSpec], *, promote: float | None, episodes: int) -> None:
        self.specs, self.promote = tuple(specs), promote
        self.levels = sorted({spec.level for spec in specs if spec.level is not None})
        if promote is not None and any(spec.level is None for spec in specs):
            raise AgentError(
                "--promote needs games whose levels are known: textworld:FAMILY?level=1..5, or a folder with a manifest"
            )
        self._level_of = {spec.name: spec.level for spec in specs}
        self._stage = 0
        self._recent: deque[bool] = deque(maxlen=episodes)

    @property
    def level(self) -> int | None:
        return None if self.promote is None else self.levels[self._stage]

    @property
    def at_last_level(self) -> bool:
        return self.promote is None or self._stage == len(self.levels) - 1

    def in_play(self) -> tuple[games.GameSpec, ...]:
        """Return the games to play. With promotion, the current level and lower levels alternate."""
        if self.level is None:
            return tuple(_mixed_levels(self.specs))
        current = [spec for spec in self.specs if spec.level == self.level]
        # lower levels too, so that the policy does not forget them
        below = _mixed_levels([s for s in self.specs if s.level is not None and s.level < self.level])
        if not below:
            return tuple(current)
        rounds = range(max(len(current), len(below)))
        return tuple(spec for i in rounds for spec in (current[i % len(current)], below[i % len(below)]))

    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """Count wins, start the next level if it is due, and return metrics. `episodes` are in order."""
        alone = [episode for episode in episodes if not episode.with_expert]
        won = {level: [bool(e.won) for e in alone if self._level_of[e.game] == level] for level in self.levels}
        metrics: Metrics = {}
        if len(self.levels) > 1:
            metrics = {f"success_level_{level}": float(np.mean(wins)) for level, wins in won.items() if wins}
        if self.promote is not None:
            metrics["level"] = level = self.levels[self._stage]
            self._recent.extend(won[level])
            full = len(self._recent) == self._recent.maxlen
            if full and not self.at_last_level and sum(self._recent) / len(self._recent) >= self.promote:
                self._stage += 1
                self._recent.clear()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state. Raise `AgentError` if no game has its level."""
        if self.level is not None:
            if state["level"] not in self.levels:
                levels = ", ".join(map(str, self.levels))
                raise AgentError(f"the checkpoint is at level {state['level']}, but the games have {levels}")
            self._stage = self.levels.index(state["level"])
            self._recent = deque(state["recent"], maxlen=self._recent.maxlen)


def _mixed_levels(specs: Sequence[games.GameSpec]) -> list[games.GameSpec]:
    # interleaved, so that a pass over all games does not end with only the hardest ones
    levels = dict.fromkeys(spec.level for spec in specs)
    return interleave([[spec for spec in specs if spec.level == level] for level in levels])
