"""Plays several episodes at once with one agent."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np

import games
from agents.play.episode import Episode
from agents.play.live_episode import Env, Game, LiveEpisode, StepEvent
from agents.protocol import Agent, AgentError, Turn
from games.failures import Failures, error_kind

T = TypeVar("T")
# at most `max(IDLE_GAMES, parallel)` idle environments stay open, because a reset is faster than loading a game again
IDLE_GAMES = 64
IDLE_PROCESSES = 16  # the same for environments in child processes, which need more memory


class EpisodeRunner:
    """Plays several episodes at once. Call `close()` at the end, or use a `with` block.

    Args:
        specs: games, in the order of play.
        seed: episode i resets its game with a seed from `SeedSequence([seed, i // group_size])`.
        parallel: maximum number of episodes in progress.
        max_turns: turn limit. If None, each game has its own limit.
        shaping: keyword arguments of `games.shape`.
        infos: optional keys of the info dict to request, such as "policy_commands".
        first_episode: number of the first episode.
        group_size: number of consecutive episodes with the same game and seed.
        advice: hint in the error message for a game without admissible commands.
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
        advice: str = "expected an agent that writes freely: human, smollm2, or the folder of a run",
    ) -> None:
        if not specs:
            raise AgentError("no game to play: the list of games is empty")
        if parallel < 1:
            raise AgentError(f"parallel is {parallel}, but at least one episode must be live")
        self.specs, self.seed, self.parallel, self.group_size = tuple(specs), seed, parallel, group_size
        self.max_turns, self.shaping, self.infos = max_turns, shaping or {}, infos
        self.next_episode, self.advice = first_episode, advice
        # by slot: {"game": name, "options": options of the reset that continues the game}
        self.continuations: dict[str, dict[str, Any]] = {}
        self.failures = Failures(parallel)
        self._idle: OrderedDict[int, tuple[str, Env]] = OrderedDict()
        self._idle_lock = threading.Lock()
        in_processes = any(getattr(spec, "step_seconds", None) is not None for spec in specs)
        self._pool = ThreadPoolExecutor(parallel, "game") if in_processes else None  # threads start with the first job

    def play(
        self, agent: Agent, episodes: int, on_step: Callable[[StepEvent], None] | None = None
    ) -> Generator[Episode, None, None]:
        """Yield finished episodes. A GameError ends only one episode.

        Raise FatalGameError after too many consecutive failures.
        """
        live: dict[int, LiveEpisode] = {}
        needs_commands = not getattr(agent, "writes_freely", False)
        try:
            while True:
                episodes -= self._fill(live, episodes, needs_commands=needs_commands)
                if not live:
                    return
                yield from self._play_turn(agent, live, on_step, needs_commands=needs_commands)
        finally:
            for episode in live.values():
                episode.env.close()

    def close(self) -> None:
        """Close idle environments and stop the threads."""
        while self._idle:
            self._idle.popitem()[1][1].close()
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _play_turn(
        self,
        agent: Agent,
        live: dict[int, LiveEpisode],
        on_step: Callable[[StepEvent], None] | None,
        *,
        needs_commands: bool,
    ) -> list[Episode]:
        """Play one command in each live episode. Move finished episodes from `live` to the returned list."""
        decisions = agent.act([episode.turn for episode in live.values()])
        if len(decisions) != len(live):
            raise TypeError(f"{agent.name} got {len(live)} turns, but returned {len(decisions)} decisions")
        steps = [
            partial(episode.step, decision, needs_commands=needs_commands)
            for episode, decision in zip(live.values(), decisions, strict=True)
        ]
        events = self._add_model_rewards(list(live.values()), list(self._results(steps)))
        finished, endings = list[Episode](), list[StepEvent]()
        for slot, event in zip(list(live), events, strict=True):
            if on_step is not None:
                on_step(event)
            if event.terminated or event.truncated:
                episode = live.pop(slot)
                finished.append(episode.to_episode(event))
                endings.append(event)
                self._release(slot, episode.env, event)
                self.failures.record(event.turn.game, event.error, event.error_kind)
        if endings:
            agent.end(endings)
        return finished

    def _add_model_rewards(self, live: Sequence[LiveEpisode], events: list[StepEvent]) -> list[StepEvent]:
        by_reward: dict[str, list[int]] = {}
        for index, event in enumerate(events):
            if "unscored" in event.info:  # the name of a reward that needs a model
                by_reward.setdefault(event.info["unscored"], []).append(index)
        for reward, indices in by_reward.items():
            from agents.completion_rewards import scorer

            infos = [events[index].info for index in indices]
            scores = scorer(reward)([info["prompt"] for info in infos], [info["completion"] for info in infos])
            for index, score in zip(indices, scores, strict=True):
                events[index] = live[index].add_score(events[index], score, scale=self.shaping.get("scale", 1.0))
        return events

    def _results(self, calls: Sequence[Callable[[], T]]) -> Iterable[T]:
        if self._pool is None:
            return (call() for call in calls)
        futures = [self._pool.submit(call) for call in calls]
        wait(futures)  # all calls, so that none is running if one of them has raised an error
        return (future.result() for future in futures)

    def _fill(self, live: dict[int, LiveEpisode], limit: int, *, needs_commands: bool) -> int:
        """Start at most `limit` episodes in free slots. Return the number of started episodes."""
        started = 0
        while free := [slot for slot in range(self.parallel) if slot not in live][: limit - started]:
            calls = [
                partial(self._start, slot, index, needs_commands=needs_commands)
                for index, slot in enumerate(free, self.next_episode)
            ]
            for slot, result in zip(free, self._results(calls), strict=True):
                game = self._spec(self.next_episode).name
                self.next_episode += 1
                if isinstance(result, games.GameError):
                    self.failures.record(game, str(result), error_kind(result), at_start=True)
                else:
                    self.failures.started()
                    self.continuations.pop(str(slot), None)
                    live[slot] = result
                    started += 1
        return started

    def _start(self, slot: int, index: int, *, needs_commands: bool) -> LiveEpisode | games.GameError:
        """Start an episode, or return an error that affects only this episode."""
        seed = int(np.random.SeedSequence([self.seed, index // self.group_size]).generate_state(1)[0])
        spec = self._spec(index)
        continuation = self.continuations.get(str(slot), {})
        options = continuation["options"] if continuation.get("game") == spec.name else None
        env = None
        try:
            env = self._open(spec)
            # a continued episode needs a seed, too: otherwise, a resumed run of a stochastic game would differ
            observation, info = env.reset(seed=seed, options=options)
            if needs_commands and not info["admissible_commands"]:
                raise AgentError(
                    f"{games.readable(spec.name)} offers no admissible commands, and this agent chooses among them; "
                    f"{self.advice}"
                )
        except ValueError as error:
            if env is not None:
                env.close()
            error_class = games.EpisodeError if env is None else games.GameError  # `make` may fail for all episodes
            if isinstance(error, error_class) and not isinstance(error, games.FatalGameError):
                return error
            raise
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

    def _spec(self, episode: int) -> Game:
        return self.specs[episode // self.group_size % len(self.specs)]

    def _release(self, slot: int, env: Env, event: StepEvent) -> None:
        """Keep the environment for a later episode. After an error, close the environment."""
        if event.error is not None:
            env.close()
            return
        if "continuation" in event.info:
            self.continuations[str(slot)] = {"game": event.turn.game, "options": dict(event.info["continuation"])}
        self._idle[event.episode] = (event.turn.game, env)
        idle_limit = IDLE_GAMES if getattr(self._spec(event.episode), "step_seconds", None) is None else IDLE_PROCESSES
        if len(self._idle) > max(idle_limit, self.parallel):
            self._idle.popitem(last=False)[1][1].close()

    def _open(self, spec: Game) -> Env:
        with self._idle_lock:
            for episode, (name, _) in self._idle.items():
                if name == spec.name:
                    return self._idle.pop(episode)[1]
        return games.shape(spec.make(max_turns=self.max_turns, infos=self.infos), **self.shaping)
