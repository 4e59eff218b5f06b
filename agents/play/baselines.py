"""Agents without a network: random, human and walkthrough."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from agents.protocol import AgentError, Decision, EpisodeEnd, Turn


class RandomAgent:
    """Samples admissible commands uniformly."""

    name = "random"

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self._rngs: dict[int, np.random.Generator] = {}

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [self._decide(turn) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._rngs.pop(ending.episode, None)

    def _decide(self, turn: Turn) -> Decision:
        if turn.episode not in self._rngs:
            self._rngs[turn.episode] = np.random.default_rng([self.seed, turn.episode])
        commands: list[str] = turn.info["admissible_commands"]
        total, counts = len(commands), Counter(commands)  # a game may list a command twice
        return Decision(
            command=commands[self._rngs[turn.episode].integers(total)],
            probabilities={command: count / total for command, count in counts.items()},
            entropy=math.log(total) - sum(count * math.log(count) for count in counts.values()) / total,
        )


class HumanAgent:
    """Calls `ask(turn)` for each command."""

    name = "human"
    writes_freely = True

    def __init__(self, ask: Callable[[Turn], str]) -> None:
        self._ask = ask

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [Decision(command=self._ask(turn)) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None: ...


class WalkthroughAgent:
    """Plays the game's walkthrough, and afterwards the commands `info["policy_commands"][0]`."""

    name = "walkthrough"
    infos = ("policy_commands",)  # requested from the game

    def __init__(self) -> None:
        self._remaining: dict[int, list[str]] = {}  # episode -> unplayed commands

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [Decision(command=self._next(turn)) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._remaining.pop(ending.episode, None)

    def _next(self, turn: Turn) -> str:
        if turn.first:
            self._remaining[turn.episode] = list(turn.info.get("extra.walkthrough") or ())
        if self._remaining[turn.episode]:
            return self._remaining[turn.episode].pop(0)
        if policy := turn.info.get("policy_commands"):
            return str(policy[0])
        if turn.first:
            raise AgentError(f"{turn.game} has no walkthrough, so the walkthrough agent cannot play it")
        raise AgentError(f"the walkthrough of {turn.game} has ended, but the game has not")
