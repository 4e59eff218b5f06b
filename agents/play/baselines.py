"""Three agents that need no network: random, human, and the game's own walkthrough.

They share the protocol with the language model, so everything that plays (terminal, evaluation, tests) treats
them alike. They print nothing and read no keyboard: a human's commands come from a function that is given.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from agents.protocol import AgentError, Decision, EpisodeEnd, Turn


class RandomAgent:
    """Chooses uniformly among the admissible commands.

    Every episode has a random stream of its own, made from the seed and the episode's number, so what happens
    in an episode does not depend on which others are played beside it.
    """

    name = "random"

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self._streams: dict[int, np.random.Generator] = {}

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [self._choose(turn) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._streams.pop(ending.episode, None)

    def _choose(self, turn: Turn) -> Decision:
        if turn.episode not in self._streams:
            self._streams[turn.episode] = np.random.default_rng([self.seed, turn.episode])
        commands: list[str] = turn.info["admissible_commands"]
        return Decision(
            command=commands[self._streams[turn.episode].integers(len(commands))],
            probabilities=dict.fromkeys(commands, 1 / len(commands)),
            entropy=math.log(len(commands)),
        )


class HumanAgent:
    """Asks a person, one episode after the other; whoever makes it says how (`ask` gets the turn)."""

    name = "human"

    def __init__(self, ask: Callable[[Turn], str]) -> None:
        self._ask = ask

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [Decision(command=self._ask(turn)) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Nothing is remembered between turns."""


class WalkthroughAgent:
    """Plays the solution that the game brings along.

    It is `extra.walkthrough`, known at the first turn; where that is missing or used up, the first of the
    game's `policy_commands`, which a game computes anew at every turn. AgentError where the game has neither.
    """

    name = "walkthrough"
    infos = ("policy_commands",)
    """What has to be asked of the game for this agent."""

    def __init__(self) -> None:
        self._rest: dict[int, list[str]] = {}

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [Decision(command=self._next(turn)) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._rest.pop(ending.episode, None)

    def _next(self, turn: Turn) -> str:
        if turn.first:
            self._rest[turn.episode] = list(turn.info.get("extra.walkthrough") or ())
        rest = self._rest[turn.episode]
        if rest:
            return rest.pop(0)
        policy: Sequence[str] = turn.info.get("policy_commands") or ()
        if policy:
            return policy[0]
        if turn.first:
            raise AgentError(f"{turn.game} has no walkthrough, so the walkthrough agent cannot play it")
        raise AgentError(f"the walkthrough of {turn.game} is at its end, but the game goes on")
