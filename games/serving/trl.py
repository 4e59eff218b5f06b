"""Our games as environments of TRL's `GRPOTrainer`: `environment_factory=partial(ToolEnvironment, GAME)`."""

from typing import Any

import gymnasium

from games.errors import GameError
from games.game_strings import resolve


class ToolEnvironment:
    """An environment whose only tool, `play`, plays one command of a text game.

    TRL calls `reset` with the columns of a row of the dataset. All rollouts of a group have the same row. The column
    `seed` selects one of the games that `game` names and seeds the episode, so all rollouts of a group begin alike. The
    reward of a rollout is the sum of the rewards of its commands.
    """

    def __init__(self, game: str, *, max_turns: int | None = None) -> None:
        self._specs, self._max_turns = resolve(game), max_turns
        self._envs: dict[int, gymnasium.Env[str, str]] = {}
        self._env = self._game(0)
        self._reward, self._over = 0.0, True

    def reset(self, seed: int = 0, **row: Any) -> str:
        """Begin an episode and return its first observation, which TRL appends to the prompt."""
        self._env.close()  # an unfinished game may hold a process
        self._env, self._reward = self._game(seed % len(self._specs)), 0.0
        observation, info = self._env.reset(seed=seed)
        self._over = False
        return _shown(observation, info)

    def play(self, command: str) -> str:
        """
        Play one command of the game.

        Args:
            command: The command, such as one of the admissible commands.

        Returns:
            The game's response, followed by the admissible commands.
        """
        if self._over:
            return "The game is over."
        try:
            observation, reward, terminated, truncated, info = self._env.step(str(command))
        except GameError as error:
            self._over = True
            return f"The game has failed: {error}"
        self._reward += float(reward)
        self._over = terminated or truncated
        return f"{observation}\n\nThe game is over." if self._over else _shown(observation, info)

    def get_reward(self) -> float:
        """Return the sum of the rewards of this episode."""
        return self._reward

    def _game(self, number: int) -> gymnasium.Env[str, str]:
        if number not in self._envs:
            self._envs[number] = self._specs[number].make(max_turns=self._max_turns)
        return self._envs[number]


def _shown(observation: str, info: dict[str, Any]) -> str:
    commands = info.get("admissible_commands")
    return f"{observation}\n\nAdmissible commands: {'; '.join(commands)}" if commands else observation
