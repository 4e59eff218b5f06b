"""One live episode: an env, what the agent sees next, and what has been noted so far.

Who plays which game when is the arena's affair (`agents/play/runner.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import gymnasium

import games
from agents.play.episode import Episode, Step
from agents.protocol import Decision, Turn

Env = gymnasium.Env[str, str]


class Game(Protocol):
    """What the runner needs of a game: `games.GameSpec`, or anything else of this shape."""

    @property
    def name(self) -> str:
        """Canonical name of exactly one game."""

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> Env:
        """A new env of the game; see `games` for what it has to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """One command was played: for whoever wants to watch while it happens."""

    turn: Turn
    """What the agent saw."""
    decision: Decision
    """What it chose."""
    observation: str
    """The game's answer."""
    reward: float
    """What the command earned, shaped."""
    score: float
    """The game's running score after the command, game points."""
    info: Mapping[str, Any]
    """The game's info after the command; empty after an error."""
    terminated: bool
    truncated: bool
    error: str | None = None
    """Why the game could not answer; None as it should be."""


@dataclass(slots=True, kw_only=True)
class LiveEpisode:
    """An episode that is being played."""

    env: Env
    seed: int
    turn: Turn
    """What the agent sees next."""
    steps: list[Step] = field(default_factory=list)
    score: float = 0.0

    def step(self, decision: Decision) -> StepEvent:
        """Play the decision and note it. A game that fails ends its episode; the event says why."""
        turn = self.turn
        error: str | None = None
        info: dict[str, Any] = {}
        try:
            observation, earned, terminated, truncated, info = self.env.step(decision.command)
            if not (terminated or truncated or info["admissible_commands"]):
                raise games.GameError(f"{turn.game} goes on, but offers no admissible commands")
        except games.GameError as failure:
            observation, earned, terminated, truncated, error = "", 0.0, False, True, str(failure)
        reward = float(earned)
        self.score = float(info.get("score", self.score + reward))
        commands = tuple(turn.info["admissible_commands"])
        self.steps.append(
            Step(
                observation=turn.observation,
                admissible_commands=commands,
                decision=decision,
                reward=reward,
                score=self.score,
            )
        )
        self.turn = replace(turn, observation=observation, info=info, reward=reward, first=False)
        return StepEvent(
            turn=turn,
            decision=decision,
            observation=observation,
            reward=reward,
            score=self.score,
            info=info,
            terminated=bool(terminated),
            truncated=bool(truncated),
            error=error,
        )

    def finished(self, event: StepEvent) -> Episode:
        """The record of the episode, which `event` ended."""
        most = event.info.get("max_score", event.turn.info.get("max_score"))
        return Episode(
            index=event.turn.episode,
            game=event.turn.game,
            seed=self.seed,
            steps=tuple(self.steps),
            final_observation=event.observation,
            score=self.score,
            max_score=None if most is None else float(most),
            won=bool(event.info.get("won", False)),
            lost=bool(event.info.get("lost", False)),
            terminated=event.terminated,
            truncated=event.truncated,
            moves=int(event.info.get("moves", len(self.steps))),
            error=event.error,
        )
