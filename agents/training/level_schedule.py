"""Which games are in play: all of a run's, or, where levels are promoted, those up to the level reached.

Levels in play come at even distances, so that a single pass does not end with the hardest and forget the easiest. With
promotion half of the episodes are of the level reached and the other half go through those below it, so that what
was learned there is not lost. Knows no tensor; what a level means is its family's affair (`families.py`).
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError
from games.specs import interleave


class LevelSchedule:
    """The games of a run, and how far it has come in them.

    Args:
        specs: all games of the run.
        promote: on to the next level when this share of the level's last `episodes` episodes is won; None: all
            games are in play from the beginning.
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
        """The highest level in play; None where levels are not promoted."""
        return None if self.promote is None else self.levels[self._stage]

    @property
    def at_the_top(self) -> bool:
        """True where no level is left to reach."""
        return self.promote is None or self._stage == len(self.levels) - 1

    def in_play(self) -> tuple[games.GameSpec, ...]:
        """The games to play in turn."""
        if self.level is None:
            return tuple(self._mixed_levels(self.specs))
        reached = [spec for spec in self.specs if spec.level == self.level]
        below = self._mixed_levels([s for s in self.specs if s.level is not None and s.level < self.level])
        if not below:
            return tuple(reached)
        rounds = range(max(len(reached), len(below)))
        return tuple(spec for i in rounds for spec in (reached[i % len(reached)], below[i % len(below)]))

    @staticmethod
    def _mixed_levels(specs: Sequence[games.GameSpec]) -> list[games.GameSpec]:
        of_level: dict[int | None, list[games.GameSpec]] = {}
        for spec in specs:
            of_level.setdefault(spec.level, []).append(spec)
        return interleave(list(of_level.values()))

    def count(self, episodes: Sequence[Episode]) -> Metrics:
        """Take note of a rollout, in order of its episodes, and promote where it is time.

        Returns:
            `level` that was reached before it where levels are promoted, and the share won of every level that was
            played where there are several ("success_level_3").
        """
        won: dict[int, list[bool]] = {}
        for episode in episodes:
            level = self._level_of[episode.game]
            if level is not None:
                won.setdefault(level, []).append(episode.won)
        found: Metrics = {}
        if len(self.levels) > 1:
            found = {f"success_level_{level}": float(np.mean(won[level])) for level in sorted(won)}
        if self.level is not None:
            found["level"] = self.level
            self._recent.extend(won.get(self.level, ()))
            self._promote()
        return found

    def _promote(self) -> None:
        full = len(self._recent) == self._recent.maxlen
        if full and not self.at_the_top and sum(self._recent) / len(self._recent) >= (self.promote or 0.0):
            self._stage += 1
            self._recent.clear()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep; JSON-able."""
        return {"level": self.level, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if self.level is not None:
            self._stage = self.levels.index(state["level"])
            self._recent.extend(state["recent"])
