"""One turn of an episode, and the list of its turns."""

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from agents.play.episode import Episode, Step
from agents.play.transcript import Entry
from terminal import display
from terminal.texts import one_line
from terminal.watcher.row_list import cell, row

COMMANDS = 40  # the number of commands that a turn shows
EXPERT = Text("E", "bold magenta")


def heading(entry: Entry, *, run: str) -> Text:
    """Return the title of an episode."""
    episode = entry.episode
    title = Text.assemble(
        (one_line(run), "bold"),
        (f"  {entry.place.replace(', ', '  ')}  ", "dim"),
        (display.game_name(episode.game), "bold"),
        "  ",
        (display.summary(episode), f"bold {display.result_style(episode)}"),
        f"  return {episode.reward:+z.2f}",
    )
    if played := sum(step.decision.by_expert for step in episode.steps):
        title.append(f"  {played} by the expert", "magenta")
    return title


def short_heading(entry: Entry, *, run: str) -> Text:
    """Return the heading of an episode in a comparison, in two lines. The screen's title names the game."""
    episode = entry.episode
    return Text.assemble(
        (one_line(run), "bold"),
        (f"  {entry.place.replace(', ', '  ')}\n", "dim"),
        (display.summary(episode), f"bold {display.result_style(episode)}"),
    )


class TurnView(Vertical):
    """A turn: the game's text, and below it the commands or tokens, the values and the outcome. Both parts scroll."""

    DEFAULT_CSS = """
    TurnView > .text { height: auto; max-height: 50%; }
    TurnView > .choice { height: 1fr; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._shown: tuple[Episode, int] | None = None

    def compose(self) -> ComposeResult:
        for part in ("text", "choice"):
            with VerticalScroll(classes=part):
                yield Static()

    def show(self, episode: Episode, number: int) -> None:
        """Show a turn, counted from 0. If the episode has no such turn, say that it has ended."""
        self._shown = episode, number
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self._shown is None:
            return
        episode, number = self._shown
        text: RenderableType = Text("the episode has ended", "dim")
        choice: RenderableType = Text()
        if number < len(episode.steps):
            step, last = episode.steps[number], number == len(episode.steps) - 1
            before = display.points(episode.steps[number - 1].score if number else 0.0, episode.max_score)
            after = display.points(step.score, episode.max_score)
            text = display.observation_panel(step.observation, turn=number + 1, score=before)
            choice = Group(_choice(step, after, self.size.width), *([display.end_panel(episode)] if last else []))
        for part, content in (("text", text), ("choice", choice)):
            scroll = self.query_one(f".{part}")
            scroll.query_one(Static).update(content)
            scroll.scroll_home(animate=False)


def _choice(step: Step, score: str, width: int) -> RenderableType:
    """Return the commands or tokens of a turn, and its outcome. If `width` is small, the probabilities have no bars."""
    bar = width // 5 if width >= 40 else 0
    return Group(
        display.policy_table(step.decision, commands=COMMANDS, tokens=len(step.decision.tokens), bar=bar),
        *([Text("  an expert played this turn", "magenta")] if step.decision.by_expert else []),
        display.outcome_line(step.decision.command, reward=step.reward, score=score, advantage=step.advantage),
    )


def turn_cell(episode: Episode, number: int, width: int) -> Text:
    """Return a cell of this width with the command of a turn, its probability and its reward.

    If the episode has no turn `number`, counted from 0, the cell is empty.
    """
    if number >= len(episode.steps):
        return cell("", width)
    step = episode.steps[number]
    decision = step.decision
    probability = decision.probabilities.get(decision.command)
    style = "green" if step.reward > 0 else "red" if step.reward < 0 else "dim"
    numbers = [
        cell("" if probability is None else f"{probability:z.0%}", 4, "dim", right=True),
        cell(f"{step.reward:+z.2f}" if step.reward else "0", 6, style, right=True),
    ]
    mark = EXPERT if decision.by_expert else Text(" ")
    return row(mark, cell(one_line(decision.command) or '""', width - 14), *numbers)
