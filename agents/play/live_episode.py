"""An episode in progress."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import gymnasium

import games
from agents.play.episode import Episode, Step
from agents.protocol import Decision, EpisodeEnd, Turn
from games.failures import error_kind

Env = gymnasium.Env[str, str]


class Game(Protocol):
    """A game that `EpisodeRunner` can play, such as a `games.GameSpec`."""

    @property
    def name(self) -> str: ...

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> Env: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(EpisodeEnd):
    """A decision of the agent at `turn`, and the game's response."""

    turn: Turn
    decision: Decision
    score: float
    error: str | None = None
    error_kind: str = ""


@dataclass(slots=True, kw_only=True)
class LiveEpisode:
    """An episode in progress. `turn` is the next turn."""

    env: Env
    seed: int
    turn: Turn
    steps: list[Step] = field(default_factory=list)
    score: float = 0.0

    def step(self, decision: Decision, *, needs_commands: bool = True) -> StepEvent:
        """Play a command, and record the step.

        A GameError truncates the episode. A FatalGameError is not caught.
        """
        turn, info, error = self.turn, dict[str, Any](), None
        try:
            observation, env_reward, terminated, truncated, info = self.env.step(decision.command)
            if needs_commands and not (terminated or truncated or info["admissible_commands"]):
                raise games.GameError(f"{turn.game} has not ended, but offers no admissible commands")
        except games.FatalGameError:
            raise
        except games.GameError as failure:
            observation, env_reward, terminated, truncated, error = "", 0.0, False, True, failure
        reward = float(env_reward)
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
            episode=turn.episode,
            turn=turn,
            decision=decision,
            observation=observation,
            reward=reward,
            score=self.score,
            info=info,
            terminated=bool(terminated),
            truncated=bool(truncated),
            error=None if error is None else str(error),
            error_kind="" if error is None else error_kind(error),
        )

    def add_score(self, event: StepEvent, score: float, *, scale: float) -> StepEvent:
        """Add `score` to the score of the last step, and `scale * score` to the reward."""
        self.score += score
        reward = event.reward + scale * score
        self.steps[-1] = replace(self.steps[-1], reward=reward, score=self.score)
        return replace(event, reward=reward, score=self.score)

    def to_episode(self, event: StepEvent) -> Episode:
        """Return the finished episode, whose last event is `event`."""
        max_score = event.info.get("max_score", event.turn.info.get("max_score"))
        won = event.info.get("won", event.turn.info.get("won", False))  # the info is empty after an error
        return Episode(
            index=event.episode,
            game=event.turn.game,
            seed=self.seed,
            steps=tuple(self.steps),
            final_observation=event.observation,
            score=self.score,
            max_score=None if max_score is None else float(max_score),
            won=None if won is None else bool(won),
            lost=bool(event.info.get("lost", False)),
            terminated=event.terminated,
            truncated=event.truncated,
            moves=int(event.info.get("moves", len(self.steps))),
            error=event.error,
        )
