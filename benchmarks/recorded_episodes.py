"""Recorded episodes of a fixed length for benchmarks, called tapes: texts and commands of real games.

A tape is replayed turn by turn. The agent's commands have no effect, so that all agents see the same text. The texts
come from walkthroughs of TextWorld's `simple` games, one game after the other. To have a fixed number of commands at
each turn, they are truncated, or completed with commands of other games. The rewards are arbitrary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import gymnasium
import numpy as np

import games
from agents.play.baselines import RandomAgent, WalkthroughAgent
from agents.play.runner import EpisodeRunner
from agents.protocol import Turn

OTHERS = ("textworld:cooking?level=6&seed=2", "textworld:cooking?level=4&seed=1", "textworld:quest?level=7&seed=1")
"""Games whose commands, in this order, are added to a turn that has too few commands of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The text and commands of a game at one turn."""

    observation: str
    commands: tuple[str, ...]
    """Admissible commands, sorted."""


class Tape(gymnasium.Env[str, str]):
    """An environment that replays scenes. Every third turn has reward 1, and the other turns have reward 0."""

    metadata: dict[str, Any] = {"render_modes": [], "prompt": "\n> ", "terminator": "\n"}  # noqa: RUF012

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = tuple(scenes)
        self.observation_space = gymnasium.spaces.Text(100_000)
        self.action_space = gymnasium.spaces.Text(1_000)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.turn = 0
        return self.scenes[0].observation, {"admissible_commands": list(self.scenes[0].commands)}

    def step(self, command: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        over = self.turn == len(self.scenes)
        scene = Scene(observation="The end.", commands=()) if over else self.scenes[self.turn]
        info = {"admissible_commands": list(scene.commands)}
        return scene.observation, float(self.turn % 3 == 0), over, False, info


@dataclass(frozen=True)
class EpisodeSpec:
    """The part of a `games.GameSpec` that the runner needs."""

    name: str
    scenes: tuple[Scene, ...]

    def make(self, *, max_turns: int | None = None, infos: Sequence[str] = ()) -> Tape:
        return Tape(self.scenes[:max_turns])

    def turn(self, number: int, *, episode: int) -> Turn:
        """Return a turn of the tape. `number` counts from 0."""
        scene = self.scenes[number]
        info = {"admissible_commands": list(scene.commands)}
        text, first = scene.observation, number == 0
        return Turn(episode=episode, game=self.name, observation=text, info=info, reward=0.0, first=first)


def recorded_episodes(count: int, turns: int, *, commands: int | None = None, seed: int = 1) -> list[EpisodeSpec]:
    """Return `count` tapes of `turns` turns, with `commands` commands at each turn, or by default those of its game.

    Raises:
        ValueError: the games have fewer than `commands` commands.
    """
    rng = np.random.default_rng(seed)
    return [
        EpisodeSpec(f"tape {number}", tuple(_scenes(number, turns, commands, rng)))
        for number in range(seed, seed + count)
    ]


def _scenes(seed: int, turns: int, commands: int | None, rng: np.random.Generator) -> list[Scene]:
    scenes, following = list(_walk(seed)), seed
    while len(scenes) < turns:
        following += 1
        scenes += _walk(following)[1:]
    if commands is None:
        return scenes[:turns]
    return [replace(scene, commands=_fill_up(scene.commands, commands, rng)) for scene in scenes[:turns]]


def _fill_up(own: tuple[str, ...], wanted: int, rng: np.random.Generator) -> tuple[str, ...]:
    others: list[str] = []
    for game in OTHERS:
        if len(own) + len(others) < wanted:
            others = sorted({*others, *_offered(game)} - set(own))
    if len(own) + len(others) < wanted:
        raise ValueError(f"a turn has at most {len(own) + len(others)} commands, got {wanted}")
    more = rng.choice(len(others), size=max(0, wanted - len(own)), replace=False)
    return tuple(sorted([*own[:wanted], *(others[index] for index in more)]))


@cache
def _walk(seed: int) -> tuple[Scene, ...]:
    with EpisodeRunner(games.resolve(f"textworld:simple?seed={seed}"), seed=0, infos=WalkthroughAgent.infos) as runner:
        (episode,) = runner.play(WalkthroughAgent(), 1)
    return tuple(Scene(observation=s.observation, commands=s.admissible_commands) for s in episode.steps)


@cache
def _offered(game: str) -> frozenset[str]:
    """Return the admissible commands that a random player sees in a game."""
    with EpisodeRunner(games.resolve(game), seed=0, max_turns=60) as runner:
        (episode,) = runner.play(RandomAgent(seed=0), 1)
    return frozenset(command for step in episode.steps for command in step.admissible_commands)
