"""The runner: it plays episodes of games with an agent, several at once, and hands over each when it is
finished.

Play, evaluation and training all run on it. It knows no tensor and learns nothing. Results do not depend on
how many episodes are live at once: the game and the seed of episode i follow from i alone. Where a game goes
on from one episode to the next (its info has `continuation`), the next episode in the same place goes on from
there.
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
"""How many games that nobody plays just now stay open, to be reset instead of loaded again."""


class EpisodeRunner:
    """Plays episodes of `specs` in turn; use it in a `with` block or `close()` it.

    Episode numbers count on over all calls of `play` and never repeat. Episode i is of game `specs[i // group_size %
    len(specs)]` and its env is seeded with `SeedSequence([seed, i])`. `shaping` holds the arguments of
    `games.shape`, `infos` the expensive infos to ask of a game, `max_turns` the turn limit (None: the game's
    own).
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
        """What the next episodes go on from, as JSON: place -> {"game": name, "options": reset options}."""
        self._idle: OrderedDict[int, tuple[str, Env]] = OrderedDict()

    def play(
        self, agent: Agent, episodes: int, on_step: Callable[[StepEvent], None] | None = None
    ) -> Generator[Episode, None, None]:
        """Yield `episodes` finished episodes, in the order in which they end.

        A game that fails (GameError) in the middle ends its own episode, whose `error` says why; the others
        go on. A game that cannot even be opened raises. Closing the iterator early closes the games that are
        live.
        """
        live: dict[int, LiveEpisode] = {}
        last = self.next_episode + episodes
        try:
            while True:
                for place in range(self.parallel):
                    if place not in live and self.next_episode < last:
                        live[place] = self._open(place)
                if not live:
                    return
                yield from self._round(agent, live, on_step)
        finally:
            for episode in live.values():
                episode.env.close()

    def close(self) -> None:
        """Close every game that is kept open."""
        while self._idle:
            self._idle.popitem()[1][1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _round(
        self, agent: Agent, live: dict[int, LiveEpisode], on_step: Callable[[StepEvent], None] | None
    ) -> list[Episode]:
        """One command in every live episode; those that it ends leave `live` and are returned."""
        places = list(live)
        decisions = agent.act([live[place].turn for place in places])
        if len(decisions) != len(places):
            raise TypeError(f"{agent.name} got {len(places)} turns, but made {len(decisions)} decisions")
        finished: list[Episode] = []
        endings: list[EpisodeEnd] = []
        for place, decision in zip(places, decisions, strict=True):
            event = live[place].step(decision)
            if on_step is not None:
                on_step(event)
            if event.terminated or event.truncated:
                episode = live.pop(place)
                finished.append(episode.finished(event))
                endings.append(_ending(event))
                self._leave(place, episode.env, event)
        if endings:
            agent.end(endings)
        return finished

    def _open(self, place: int) -> LiveEpisode:
        """Begin the next episode. The seed is given even where an episode goes on from the one before, so
        that a game that draws random numbers can be played again from a checkpoint."""
        index = self.next_episode
        spec = self.specs[index // self.group_size % len(self.specs)]
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        before = self.continuations.get(str(place))
        options = before["options"] if before is not None and before["game"] == spec.name else None
        env = self._take(spec)
        try:
            observation, info = env.reset(seed=seed, options=options)
            if not info["admissible_commands"]:
                raise games.GameError(f"{spec.name} offers no admissible commands at its start")
        except games.GameError:
            env.close()
            raise
        self.next_episode += 1
        self.continuations.pop(str(place), None)
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

    def _leave(self, place: int, env: Env, event: StepEvent) -> None:
        """Keep the env for later and what the next episode goes on from; an env that failed is closed."""
        if event.error is not None:
            env.close()
            return
        if "continuation" in event.info:
            options = dict(event.info["continuation"])
            self.continuations[str(place)] = {"game": event.turn.game, "options": options}
        self._idle[event.turn.episode] = (event.turn.game, env)
        if len(self._idle) > max(IDLE_GAMES, self.parallel):
            self._idle.popitem(last=False)[1][1].close()

    def _take(self, spec: Game) -> Env:
        """An env of that game: one that is open already, or a new one."""
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
