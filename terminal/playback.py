"""Live and recorded episodes: as panels in a terminal, as plain lines in a file or a pipe."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import typer
from rich.console import RenderableType

from agents.play.episode import Episode
from agents.play.live_episode import StepEvent
from agents.play.runner import EpisodeRunner
from agents.play.transcript import Entry
from agents.protocol import Agent, Decision, Turn
from terminal import console, display

Renderables: TypeAlias = list[RenderableType]


class View(Protocol):
    """The output format for episodes while an agent plays."""

    def turn(self, turn: Turn) -> Renderables:
        """Return what to print before a person is asked for a command."""

    def step(self, event: StepEvent) -> Renderables:
        """Return what to print after a command."""

    def episode(self, episode: Episode) -> Renderables:
        """Return what to print after an episode."""

    def end(self, episodes: Sequence[Episode]) -> Renderables:
        """Return what to print after the last episode."""


class PanelView:
    """A view with panels, bars and colours, for a terminal.

    If `human` is True, each turn is shown before the person types a command. Otherwise, each turn is shown after the
    agent's decision, together with that decision.
    """

    def __init__(self, agent: str, *, human: bool) -> None:
        self.agent, self.human = agent, human
        self._turns = 0

    def turn(self, turn: Turn) -> Renderables:
        self._turns = 1 if turn.first else self._turns + 1
        heading = display.heading(agent=self.agent, game=turn.game, episode=turn.episode)
        score = turn.info.get("score")
        points = display.points(score, turn.info.get("max_score")) if isinstance(score, int | float) else ""
        panel = display.observation_panel(turn.observation, turn=self._turns, score=points)
        commands = [display.command_columns(turn.info["admissible_commands"])] if self.human else []
        return [*([heading] if turn.first else []), panel, *commands]

    def step(self, event: StepEvent) -> Renderables:
        before = [] if self.human else [*self.turn(event.turn), display.policy_table(event.decision)]
        score = display.points(event.score, event.info.get("max_score"))
        command = None if self.human else event.decision.command
        return [*before, display.outcome_line(command, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Renderables:
        return [display.end_panel(episode)]

    def end(self, episodes: Sequence[Episode]) -> Renderables:
        return [display.episode_table(episodes)] if len(episodes) > 1 else []


class LineView:
    """A view with one line for each turn and each episode, for files and pipes.

    If a person plays, the game's text is printed too.
    """

    def __init__(self) -> None:
        self._turns = 0

    def turn(self, turn: Turn) -> Renderables:
        return [display.tidy(turn.observation), "commands: " + ", ".join(turn.info["admissible_commands"])]

    def step(self, event: StepEvent) -> Renderables:
        self._turns = 1 if event.turn.first else self._turns + 1
        score = display.points(event.score, event.info.get("max_score"))
        return [_turn_line(event.decision, turn=self._turns, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Renderables:
        return [f"episode {episode.index}, {episode.game}: {display.summary(episode)}"]

    def end(self, episodes: Sequence[Episode]) -> Renderables:
        wins = sum(episode.won for episode in episodes)
        return [f"{wins} of {len(episodes)} episodes won"] if len(episodes) > 1 else []


def play(
    runner: EpisodeRunner, agent: Agent, episodes: int, view: View | None, *, pause: float
) -> tuple[list[Episode], int | None]:
    """Play episodes and show them. If `view` is None, nothing is shown.

    Args:
        pause: seconds to wait after each printed part of a turn.

    Returns:
        A tuple: (1) the finished episodes, and (2) an exit status if play was interrupted, otherwise None. The status
        is 0 if standard input ended and 130 if Ctrl-C was pressed.
    """
    finished: list[Episode] = []
    status = None

    def show_step(event: StepEvent) -> None:
        if view:
            console.show(view.step(event), pause)

    with runner:
        try:
            for episode in runner.play(agent, episodes, on_step=show_step):
                finished.append(episode)
                console.show(view.episode(episode) if view else [])
        except EOFError:
            status = 0
        except KeyboardInterrupt:
            status = 130
    if view:
        if status is not None:
            console.out.print("\nstopped", style="dim")
        console.show(view.end(finished))
    return finished, status


class Pager:
    """The turns of recorded episodes as pages, one of which is the current page."""

    keys = "space: next   b: back   n: next episode   p: previous episode   q: quit"

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._pages = [(entry, turn) for entry in entries for turn in range(len(entry.episode.steps))]
        self._starts = [page for page, (_, turn) in enumerate(self._pages) if turn == 0]
        self._page = 0

    def current(self) -> Renderables:
        """Return the content of the current page."""
        return _page(*self._pages[self._page])

    def press(self, key: str) -> None:
        """Go to the page that a key selects. Keys other than those in `keys`, Enter and arrow keys are ignored."""
        page = self._page
        if key in (" ", "\r", "\n", "\x1b[C", "\x1b[B"):
            self._page = min(page + 1, len(self._pages) - 1)
        elif key in ("b", "\x1b[D", "\x1b[A"):
            self._page = max(page - 1, 0)
        elif key == "n":
            self._page = min((start for start in self._starts if start > page), default=page)
        elif key == "p":
            self._page = max((start for start in self._starts if start < page), default=page)


def page_through(entries: Sequence[Entry]) -> None:
    """Show recorded episodes turn by turn until q is pressed."""
    pager = Pager(entries)
    while True:
        console.out.clear()
        console.show(pager.current())
        console.out.print(pager.keys, style="dim")
        try:
            key = typer.getchar()
        except (EOFError, KeyboardInterrupt):
            return
        if key in ("q", "\x04"):
            return
        pager.press(key)


def _page(entry: Entry, turn: int) -> Renderables:
    """Return the page of one turn of a recorded episode. Turns count from 0.

    The page of the last turn also shows how the episode ended.
    """
    episode = entry.episode
    step = episode.steps[turn]
    score_before = episode.steps[turn - 1].score if turn else 0.0
    title = f"iteration {entry.iteration}, {len(episode.steps)} turns, {display.result(episode)}"
    page: Renderables = [
        display.heading(agent=title, game=episode.game, episode=episode.index),
        display.observation_panel(
            step.observation, turn=turn + 1, score=display.points(score_before, episode.max_score)
        ),
        display.policy_table(step.decision),
        display.outcome_line(
            step.decision.command,
            reward=step.reward,
            score=display.points(step.score, episode.max_score),
            advantage=step.advantage,
        ),
    ]
    return [*page, display.end_panel(episode)] if turn == len(episode.steps) - 1 else page


def episode_lines(entry: Entry) -> list[str]:
    """Return a recorded episode as plain lines."""
    episode = entry.episode
    lines = [f"iteration {entry.iteration}, episode {episode.index}, {episode.game}: {display.summary(episode)}"]
    for number, step in enumerate(episode.steps, 1):
        lines += _text_lines(step.observation)
        score = display.points(step.score, episode.max_score)
        lines.append(_turn_line(step.decision, turn=number, reward=step.reward, score=score, advantage=step.advantage))
    return [*lines, *_text_lines(episode.final_observation), ""]


def _text_lines(text: str) -> list[str]:
    return [line for line in display.tidy(text).split("\n") if line.strip()]


def _turn_line(decision: Decision, *, turn: int, reward: float, score: str, advantage: float | None = None) -> str:
    """Format a turn as one line."""
    outputs = {
        "p": decision.probabilities.get(decision.command),
        "v": decision.value,
        "q": decision.q_values.get(decision.command),
    }
    parts = [f"{turn:4d}  {display.printable(decision.command)}"]
    parts += [f"{name} {value:.3f}" for name, value in outputs.items() if value is not None]
    parts += [f"reward {display.number(reward)}", score]
    parts += [] if advantage is None else [f"advantage {advantage:+.3f}"]
    return "  ".join(parts)
