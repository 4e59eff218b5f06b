"""Serve our games through OpenEnv's interface. Each session plays a separate episode."""

import itertools
from functools import partial
from typing import Any
from uuid import uuid4

from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

from games.game_spec import GameSpec
from games.game_strings import resolve


class TextAction(Action):
    """A command."""

    command: str


class TextObservation(Observation):
    """The result of a reset or a command. `info` contains only texts and numbers."""

    text: str
    admissible_commands: list[str]
    info: dict[str, Any]


class ServedGame(Environment[TextAction, TextObservation, State]):
    """The session of one client. A reset with a seed begins the game `specs[seed % len(specs)]`."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    REQUIRES_SINGLE_THREAD_EXECUTOR = True  # TextWorld's parser is not thread-safe, so all sessions share a thread

    def __init__(self, specs: list[GameSpec], max_turns: int | None = None) -> None:
        super().__init__()
        self._specs, self._max_turns, self._numbers = specs, max_turns, itertools.count()
        self._env: Any = None
        self._state = State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> TextObservation:
        if seed is not None and (type(seed) is not int or seed < 0):
            raise ValueError(f"seed: expected a whole number from 0, got {seed!r}")
        self.close()
        number = next(self._numbers) if seed is None else seed
        self._env = self._specs[number % len(self._specs)].make(max_turns=self._max_turns)
        text, info = self._env.reset(seed=seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        return _observation(text, info, reward=None, done=False)

    def step(self, action: TextAction, timeout_s: float | None = None, **options: Any) -> TextObservation:
        if self._env is None:
            raise ValueError("no episode is running: call reset first")
        text, reward, terminated, truncated, info = self._env.step(action.command)
        self._state.step_count += 1
        return _observation(text, info, reward=float(reward), done=terminated or truncated)

    @property
    def state(self) -> State:
        return self._state

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None


def make_app(game: str, *, sessions: int, max_turns: int | None = None) -> Any:
    """Return the ASGI application that serves `game` to at most `sessions` clients."""
    return create_fastapi_app(
        partial(ServedGame, resolve(game), max_turns),
        TextAction,
        TextObservation,
        max_concurrent_envs=sessions,
        mode="simulation",
    )


def _observation(text: str, info: dict[str, Any], **result: Any) -> TextObservation:
    commands = list(info.get("admissible_commands", ()))
    plain_info = {key: value for key, value in info.items() if isinstance(value, str | int | float | bool)}
    return TextObservation(text=text, admissible_commands=commands, info=plain_info, **result)
