"""How an episode unfolds on a screen: what to show at each turn, in a terminal or as plain lines.

A view gets what the arena tells and answers with things to print, in order; `cli.py` prints them and pauses in
between. The look of each thing is in `terminal/display.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import typer
from rich.console import RenderableType

from agents.play.episode import Episode
from agents.play.runner import StepEvent
from agents.play.transcript import Entry
from agents.protocol import Decision, Turn
from terminal import console, display

Shown = list[RenderableType]


class View(Protocol):
    """What to print when an agent plays."""

    def turn(self, turn: Turn) -> Shown:
        """Before a person is asked for a command."""

    def step(self, event: StepEvent) -> Shown:
        """After a command was played."""

    def episode(self, episode: Episode) -> Shown:
        """After the end of an episode."""

    def end(self, episodes: Sequence[Episode]) -> Shown:
        """After the last episode."""


class Screen:
    """For a terminal: panels, bars, colours. `asking` is true where a person sees each turn before it is played."""

    def __init__(self, agent: str, *, asking: bool) -> None:
        self.agent = agent
        self.asking = asking
        self._turns = 0

    def turn(self, turn: Turn) -> Shown:
        self._turns = 1 if turn.first else self._turns + 1
        heading = display.heading(agent=self.agent, game=turn.game, episode=turn.episode)
        scene = display.scene(turn.observation, turn=self._turns, score=_score(turn.info))
        offered = [display.choices(turn.info["admissible_commands"])] if self.asking else []
        return [*([heading] if turn.first else []), scene, *offered]

    def step(self, event: StepEvent) -> Shown:
        before = [] if self.asking else [*self.turn(event.turn), display.thoughts(event.decision)]
        score = display.points(event.score, event.info.get("max_score"))
        command = None if self.asking else event.decision.command
        return [*before, display.outcome(command, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Shown:
        return [display.ending(episode)]

    def end(self, episodes: Sequence[Episode]) -> Shown:
        return [display.tally(episodes)] if len(episodes) > 1 else []


class Lines:
    """For files and pipes: one line for each turn and each episode, and the game's text only for who must answer."""

    def __init__(self, *, asking: bool) -> None:
        self.asking = asking
        self._turns = 0

    def turn(self, turn: Turn) -> Shown:
        return [display.tidy(turn.observation), "commands: " + ", ".join(turn.info["admissible_commands"])]

    def step(self, event: StepEvent) -> Shown:
        self._turns = 1 if event.turn.first else self._turns + 1
        score = display.points(event.score, event.info.get("max_score"))
        return [plain_turn(event.decision, turn=self._turns, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Shown:
        return [f"episode {episode.index}, {episode.game}: {display.verdict(episode)}"]

    def end(self, episodes: Sequence[Episode]) -> Shown:
        wins = sum(episode.won for episode in episodes)
        return [f"{wins} of {len(episodes)} episodes won"] if len(episodes) > 1 else []


class Silence:
    """For programs, which read one document at the end."""

    def turn(self, turn: Turn) -> Shown:
        return []

    def step(self, event: StepEvent) -> Shown:
        return []

    def episode(self, episode: Episode) -> Shown:
        return []

    def end(self, episodes: Sequence[Episode]) -> Shown:
        return []


class Book:
    """Recorded episodes as pages, one for each turn, and where in them a reader is."""

    keys = "space: on   b: back   n: next episode   p: episode before   q: leave"

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._turns = [(entry, turn) for entry in entries for turn in range(len(entry.episode.steps))]
        self._firsts = [place for place, (_, turn) in enumerate(self._turns) if turn == 0]
        self._place = 0

    def page(self) -> Shown:
        return page(*self._turns[self._place])

    def turn(self, key: str) -> None:
        """Go where the key says; arrows work too, other keys do nothing."""
        place = self._place
        if key in (" ", "\r", "\n", "\x1b[C", "\x1b[B"):
            self._place = min(place + 1, len(self._turns) - 1)
        elif key in ("b", "\x1b[D", "\x1b[A"):
            self._place = max(place - 1, 0)
        elif key == "n":
            self._place = min((first for first in self._firsts if first > place), default=place)
        elif key == "p":
            self._place = max((first for first in self._firsts if first < place), default=place)


def page_through(entries: Sequence[Entry]) -> None:
    """Show recorded episodes turn by turn, as keys say, until q."""
    book = Book(entries)
    while True:
        console.out.clear()
        console.show(book.page())
        console.out.print(book.keys, style="dim")
        try:
            key = typer.getchar()
        except (EOFError, KeyboardInterrupt):
            return
        if key in ("q", "\x04"):
            return
        book.turn(key)


def page(entry: Entry, turn: int) -> Shown:
    """One turn (counted from 0) of a recorded episode, for a terminal; after the last one, its end."""
    episode = entry.episode
    step = episode.steps[turn]
    before = episode.steps[turn - 1].score if turn else 0.0
    title = f"iteration {entry.iteration}, {len(episode.steps)} turns, {display.result(episode)}"
    shown: Shown = [
        display.heading(agent=title, game=episode.game, episode=episode.index),
        display.scene(step.observation, turn=turn + 1, score=display.points(before, episode.max_score)),
        display.thoughts(step.decision),
        display.outcome(
            step.decision.command,
            reward=step.reward,
            score=display.points(step.score, episode.max_score),
            advantage=step.advantage,
        ),
    ]
    return [*shown, display.ending(episode)] if turn == len(episode.steps) - 1 else shown


def record(entry: Entry) -> list[str]:
    """A recorded episode as plain lines."""
    episode = entry.episode
    lines = [f"iteration {entry.iteration}, episode {episode.index}, {episode.game}: {display.verdict(episode)}"]
    for number, step in enumerate(episode.steps, 1):
        lines += [line for line in display.tidy(step.observation).split("\n") if line.strip()]
        score = display.points(step.score, episode.max_score)
        lines.append(plain_turn(step.decision, turn=number, reward=step.reward, score=score, advantage=step.advantage))
    return [*lines, *(line for line in display.tidy(episode.final_observation).split("\n") if line.strip()), ""]


def plain_turn(decision: Decision, *, turn: int, reward: float, score: str, advantage: float | None = None) -> str:
    """One turn in one line."""
    known: Mapping[str, float | None] = {
        "p": decision.probabilities.get(decision.command),
        "v": decision.value,
        "q": decision.q_values.get(decision.command),
    }
    parts = [f"{turn:4d}  {display.printable(decision.command)}"]
    parts += [f"{name} {value:.3f}" for name, value in known.items() if value is not None]
    parts += [f"reward {display.number(reward)}", score]
    parts += [] if advantage is None else [f"advantage {advantage:+.3f}"]
    return "  ".join(parts)


def _score(info: Mapping[str, object]) -> str:
    score, most = info.get("score"), info.get("max_score")
    if not isinstance(score, int | float):
        return ""
    return display.points(score, most if isinstance(most, int | float) else None)
