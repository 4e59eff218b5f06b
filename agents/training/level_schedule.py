"""Selects a run's games: from all levels at once, or level by level."""

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
    """Starts the next level when the win rate of the last `episodes` episodes reaches `promote`.

    Without `promote`, all levels are played at once.
    """

    def __init__(self, specs: Sequence[games.GameSpec], *, promote: float | None, episodes: int) -> None:
        self.specs, self.promote = tuple(specs), promote
        self.levels = sorted({spec.level for spec in specs if spec.level is not None})
        if promote is not None and any(spec.level is None for spec in specs):
            raise AgentError(
                "--promote needs games whose levels are known: textworld:FAMILY?level=1..5, or a folder with a manifest"
            )
        self._level_of = {spec.name: spec.level for spec in specs}
        self._level_index = 0
        self._recent_wins: deque[bool] = deque(maxlen=episodes)

    @property
    def level(self) -> int | None:
        return None if self.promote is None else self.levels[self._level_index]

    @property
    def at_last_level(self) -> bool:
        return self.promote is None or self._level_index == len(self.levels) - 1

    def in_play(self) -> tuple[games.GameSpec, ...]:
        """Return the games to play. With `promote`, games of the current and lower levels alternate."""
        if self.level is None:
            return tuple(_mixed_levels(self.specs))
        current = [spec for spec in self.specs if spec.level == self.level]
        # lower levels too, so that the policy does not forget them
        lower = _mixed_levels([spec for spec in self.specs if spec.level is not None and spec.level < self.level])
        if not lower:
            return tuple(current)
        rounds = range(max(len(current), len(lower)))
        return tuple(spec for index in rounds for spec in (current[index % len(current)], lower[index % len(lower)]))

    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """Count wins, return metrics, and start the next level when due. `episodes` must be in order of play."""
        unaided = [episode for episode in episodes if not episode.with_expert]
        wins_by_level = {
            level: [bool(e.won) for e in unaided if self._level_of[e.game] == level] for level in self.levels
        }
        metrics: Metrics = {}
        if len(self.levels) > 1:
            metrics = {f"success_level_{level}": float(np.mean(wins)) for level, wins in wins_by_level.items() if wins}
        if self.promote is not None:
            metrics["level"] = level = self.levels[self._level_index]
            self._recent_wins.extend(wins_by_level[level])
            is_full = len(self._recent_wins) == self._recent_wins.maxlen
            if is_full and not self.at_last_level and sum(self._recent_wins) / len(self._recent_wins) >= self.promote:
                self._level_index += 1
                self._recent_wins.clear()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "recent": list(self._recent_wins)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state. Raise `AgentError` if no game has the stored level."""
        if self.level is not None:
            if state["level"] not in self.levels:
                levels = ", ".join(map(str, self.levels))
                raise AgentError(f"the checkpoint is at level {state['level']}, but the games have {levels}")
            self._level_index = self.levels.index(state["level"])
            self._recent_wins = deque(state["recent"], maxlen=self._recent_wins.maxlen)


def _mixed_levels(specs: Sequence[games.GameSpec]) -> list[games.GameSpec]:
    # interleaved, so that a pass over all games does not end with only the hardest ones
    levels = dict.fromkeys(spec.level for spec in specs)
    return interleave([[spec for spec in specs if spec.level == level] for level in levels])
