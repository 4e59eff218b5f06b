"""A live episode: an environment, the next turn, and the steps so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import gymnasium

import games
from agents.play.episode import Episode, Step
from agents.protocol import Decision, Turn

Env = gymnasium.Env[str, str]


class Game(Protocol):
    """The interface of a game for the runner; `games.GameSpec` implements it."""

    @property
    def name(self) -> str:
        """Canonical name of the game."""

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> Env:
        """A new environment of the game."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """A command that was played, and the game's response."""

    turn: Turn
    """The turn before the command."""
    decision: Decision
    observation: str
    """The game's response."""
    reward: float
    """Shaped reward of the command."""
    score: float
    """The game's score after the command, game points."""
    info: Mapping[str, Any]
    """The game's info after the command; empty after an error."""
    terminated: bool
    truncated: bool
    error: str | None = None
    """Why the game failed; None if it did not."""


@dataclass(slots=True, kw_only=True)
class LiveEpisode:
    """An episode that is being played."""

    env: Env
    seed: int
    turn: Turn
    """The next turn of the agent."""
    steps: list[Step] = field(default_factory=list)
    score: float = 0.0

    def step(self, decision: Decision) -> StepEvent:
        """Play the decision and record it. A failing game truncates its episode; `error` of the event says why."""
        turn = self.turn
        error: str | None = None
        info: dict[str, Any] = {}
        try:
            observation, earned, terminated, truncated, info = self.env.step(decision.command)
            if not (terminated or truncated or info["admissible_commands"]):
                raise games.GameError(f"{turn.game} has not ended, but offers no admissible commands")
        except games.GameError as failure:
            observation, earned, terminated, truncated, error = "", 0.0, False, True, str(failure)
        reward = float(earned)
        self.score = float(info.get("score", self.score + reward))
        self.steps.append(
            Step(
                observation=turn.observation,
                admissible_commands=tuple(turn.info["admissible_commands"]),
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
        max_score = event.info.get("max_score", event.turn.info.get("max_score"))
        return Episode(
            index=event.turn.episode,
            game=event.turn.game,
            seed=self.seed,
            steps=tuple(self.steps),
            final_observation=event.observation,
            score=self.score,
            max_score=None if max_score is None else float(max_score),
            won=bool(event.info.get("won", False)),
            lost=bool(event.info.get("lost", False)),
            terminated=event.terminated,
            truncated=event.truncated,
            moves=int(event.info.get("moves", len(self.steps))),
            error=event.error,
        )
