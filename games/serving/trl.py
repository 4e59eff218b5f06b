"""Our games as environments of TRL's `GRPOTrainer`. Pass `environment_factory=partial(ToolEnvironment, GAME)`."""

from typing import Any

import gymnasium

from games.errors import GameError
from games.game_strings import resolve


class ToolEnvironment:
    """A text game with one tool, `play`. The dataset column `seed` selects the game and seeds the episode."""

    def __init__(self, game: str, *, max_turns: int | None = None) -> None:
        self._specs, self._max_turns = resolve(game), max_turns
        self._env: gymnasium.Env[str, str] | None = None
        self._number = 0  # of the game that `_env` plays
        self._reward, self._over = 0.0, True

    def reset(self, seed: int = 0, **row: Any) -> str:
        """Begin an episode and return its first observation."""
        number = seed % len(self._specs)
        if self._env is None or number != self._number:
            self._close()
            self._env, self._number = self._specs[number].make(max_turns=self._max_turns), number
        observation, info = self._env.reset(seed=seed)
        self._reward, self._over = 0.0, False
        return _with_commands(observation, info)

    def play(self, command: str) -> str:
        """
        Play one command of the game.

        Args:
            command: The command, such as one of the admissible commands.

        Returns:
            The game's response, followed by the admissible commands.
        """
        if self._over or self._env is None:
            return "The game is over."
        try:
            observation, reward, terminated, truncated, info = self._env.step(str(command))
        except GameError as error:
            self._over = True
            self._close()
            return f"The game has failed: {error}"
        self._reward += float(reward)
        self._over = terminated or truncated
        return f"{observation}\n\nThe game is over." if self._over else _with_commands(observation, info)

    def get_reward(self) -> float:
        """Return the sum of the rewards of this episode."""
        return self._reward

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None  # many environments cannot be reset after `close`


def _with_commands(observation: str, info: dict[str, Any]) -> str:
    commands = info.get("admissible_commands")
    return f"{observation}\n\nAdmissible commands: {'; '.join(commands)}" if commands else observation
