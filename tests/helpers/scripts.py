"""Scripted games: a sequence of scenes with a reward for every command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium


@dataclass(frozen=True)
class Scene:
    """An observation, and the reward of each admissible command."""

    text: str
    rewards: Mapping[str, float]
    policy: tuple[str, ...] = ()
    """The game's `policy_commands` in this scene."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the info."""


class Script(gymnasium.Env[str, str]):
    """Plays one of `plays`, which the seed selects. The last command terminates (with `over`) or truncates the game."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, plays: Sequence[Sequence[Scene]], *, over: bool, end: str) -> None:
        self.plays, self.over, self.end = plays, over, end

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.play = self.plays[int(self.np_random.integers(len(self.plays)))]
        self.place = 0
        return self.play[0].text, self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reward = self.play[self.place].rewards.get(command, -9.0)
        self.place += 1
        last = self.place == len(self.play)
        text = self.end if last else self.play[self.place].text
        return text, reward, last and self.over, last and not self.over, self._info()

    def _info(self) -> dict[str, Any]:
        commands = sorted(self.play[self.place].rewards) if self.place < len(self.play) else []
        policy = list(self.play[self.place].policy) if commands else []
        more = self.play[self.place].info if commands else {}
        return {"admissible_commands": commands, "score": 0.0, "policy_commands": policy, **more}


@dataclass(frozen=True)
class ScriptSpec:
    """The part of `games.GameSpec` that the runner uses."""

    plays: Sequence[Sequence[Scene]]
    over: bool = True
    end: str = "you won"
    name: str = "script"

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> Script:
        return Script(self.plays, over=self.over, end=self.end)


def script(*scenes: Scene, over: bool = True, end: str = "you won") -> ScriptSpec:
    """Return a game with one play."""
    return ScriptSpec([scenes], over=over, end=end)
