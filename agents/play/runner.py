"""The episode runner of play, evaluation and training: plays several episodes at once with one agent.

The game and the seed of episode i depend on i only, so results do not depend on the number of live episodes. The
exception is a game whose info has `continuation` at the end: the next episode in the same slot continues from there.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Self

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Env, Game, LiveEpisode, StepEvent
from agents.protocol import Agent, AgentError, EpisodeEnd, Turn

__all__ = ["IDLE_GAMES", "Episode", "EpisodeRunner", "StepEvent"]

IDLE_GAMES = 64
"""Maximum number of environments that stay open while they are not played, to be reset instead of loaded again."""


class EpisodeRunner:
    """Plays episodes of `specs` in turn; use it in a `with` block or `close()` it.

    Episode numbers continue over all calls of `play`. Episode i plays `specs[i // group_size % len(specs)]`, seeded by
    `SeedSequence([seed, i])`.

    Args:
        parallel: number of live episodes.
        max_turns: turn limit; None: the game's own.
        shaping: arguments of `games.shape`.
        infos: expensive infos to request from the games.
        first_episode: number of the first episode.
        group_size: number of consecutive episodes of the same game.

    Raises:
        AgentError: there are no games, or `parallel` is below 1.
    """

    def __init__(
        self,
        specs: Sequence[Game],
        *,
        seed: int,
        parallel: int = 8,
        max_turns: int | None = None,
        shaping: Mapping[str, Any] | None = None,
        infos: Sequence[str] = (),
        first_episode: int = 0,
        group_size: int = 1,
    ) -> None:
        if not specs:
            raise AgentError("no game to play: the list of games is empty")
        if parallel < 1:
            raise AgentError(f"parallel is {parallel}, but at least one episode must be live")
        self.specs = tuple(specs)
        self.seed = seed
        self.parallel = parallel
        self.max_turns = max_turns
        self.shaping = dict(shaping or {})
        self.infos, self.group_size = tuple(infos), group_size
        self.next_episode = first_episode
        self.continuations: dict[str, dict[str, Any]] = {}
        """Where the next episodes continue, JSON-able: slot -> {"game": name, "options": reset options}."""
        self._idle: OrderedDict[int, tuple[str, Env]] = OrderedDict()

    def play(
        self, agent: Agent, episodes: int, on_step: Callable[[StepEvent], None] | None = None
    ) -> Generator[Episode, None, None]:
        """Yield finished episodes in the order in which they end.

        A `GameError` during an episode ends this episode, whose `error` says why. A `GameError` at its start is raised.
        Closing the generator closes the live games.
        """
        live: dict[int, LiveEpisode] = {}
        last = self.next_episode + episodes
        try:
            while True:
                for slot in range(self.parallel):
                    if slot not in live and self.next_episode < last:
                        live[slot] = self._start(slot)
                if not live:
                    return
                yield from self._play_turn(agent, live, on_step)
        finally:
            for episode in live.values():
                episode.env.close()

    def close(self) -> None:
        """Close all idle environments."""
        while self._idle:
            self._idle.popitem()[1][1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _play_turn(
        self, agent: Agent, live: dict[int, LiveEpisode], on_step: Callable[[StepEvent], None] | None
    ) -> list[Episode]:
        """Play one command in every live episode; remove and return the episodes that end."""
        slots = list(live)
        decisions = agent.act([live[slot].turn for slot in slots])
        if len(decisions) != len(slots):
            raise TypeError(f"{agent.name} got {len(slots)} turns, but returned {len(decisions)} decisions")
        finished: list[Episode] = []
        endings: list[EpisodeEnd] = []
        for slot, decision in zip(slots, decisions, strict=True):
            event = live[slot].step(decision)
            if on_step is not None:
                on_step(event)
            if event.terminated or event.truncated:
                episode = live.pop(slot)
                finished.append(episode.finished(event))
                endings.append(_ending(event))
                self._release(slot, episode.env, event)
        if endings:
            agent.end(endings)
        return finished

    def _start(self, slot: int) -> LiveEpisode:
        """Start the next episode.

        A continued episode is seeded too, so that a game with random numbers can be resumed from a checkpoint.
        """
        index = self.next_episode
        spec = self.specs[index // self.group_size % len(self.specs)]
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        before = self.continuations.get(str(slot))
        options = before["options"] if before is not None and before["game"] == spec.name else None
        env = self._open(spec)
        try:
            observation, info = env.reset(seed=seed, options=options)
            if not info["admissible_commands"]:
                raise games.GameError(f"{spec.name} offers no admissible commands at its start")
        except games.GameError:
            env.close()
            raise
        self.next_episode += 1
        self.continuations.pop(str(slot), None)
        turn = Turn(
            episode=index,
            game=spec.name,
            observation=observation,
            info=info,
            reward=0.0,
            first=True,
            prompt=env.metadata.get("prompt", "\n> "),
            terminator=env.metadata.get("terminator", "\n"),
        )
        return LiveEpisode(env=env, seed=seed, turn=turn)

    def _release(self, slot: int, env: Env, event: StepEvent) -> None:
        """Keep the environment and its continuation for later episodes; close it if it failed."""
        if event.error is not None:
            env.close()
            return
        if "continuation" in event.info:
            options = dict(event.info["continuation"])
            self.continuations[str(slot)] = {"game": event.turn.game, "options": options}
        self._idle[event.turn.episode] = (event.turn.game, env)
        if len(self._idle) > max(IDLE_GAMES, self.parallel):
            self._idle.popitem(last=False)[1][1].close()

    def _open(self, spec: Game) -> Env:
        """An idle environment of this game, or a new one."""
        for episode, (name, env) in self._idle.items():
            if name == spec.name:
                del self._idle[episode]
                return env
        return games.shape(spec.make(max_turns=self.max_turns, infos=self.infos), **self.shaping)


def _ending(event: StepEvent) -> EpisodeEnd:
    return EpisodeEnd(
        episode=event.turn.episode,
        observation=event.observation,
        info=event.info,
        reward=event.reward,
        terminated=event.terminated,
        truncated=event.truncated,
    )
