"""Screens that show one episode, or two side by side."""

from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from agents.play.episode import Episode, Step
from agents.play.transcript import Entry
from agents.play.transcript_index import read_episode
from agents.protocol import AgentError
from terminal import display
from terminal.texts import one_line
from terminal.watcher.catalogue import Catalogue, CatalogueItem, first_difference
from terminal.watcher.plots import plots, series
from terminal.watcher.row_list import RowList, cell, row

COMMANDS = 40  # the number of commands that a turn shows
EXPERT = Text("E", "bold magenta")


def open_episode(app: App[Any], catalogue: Catalogue, position: int) -> None:
    entries = _read(app, catalogue.shown[position])
    if entries and not entries[0].episode.steps:
        app.notify("this episode has no turns", severity="warning")
    elif entries:
        _show(app, EpisodeScreen(catalogue, position, entries[0]))


def open_comparison(app: App[Any], catalogue: Catalogue, item: CatalogueItem, after_run: int | None = None) -> None:
    """Show `item` beside an episode of the next run that played `item`'s game and seed."""
    runs, start = len(catalogue.labels), item.run if after_run is None else after_run
    other_runs = [run % runs for run in range(start + 1, start + 1 + runs) if run % runs != item.run]
    partner = next((match for run in other_runs if (match := catalogue.partner(item, run))), None)
    if partner is None:
        app.notify("no other run played this game with this seed", severity="warning")
    elif entries := _read(app, item, partner):
        _show(app, ComparisonScreen(catalogue, (item, partner), entries))


def _read(app: App[Any], *items: CatalogueItem) -> list[Entry]:
    try:
        return [read_episode(item.row) for item in items]
    except AgentError as error:
        app.notify(one_line(str(error)), severity="error", markup=False)
        return []


def _show(app: App[Any], screen: Screen[None]) -> None:
    if type(app.screen) is type(screen):
        app.switch_screen(screen)
    else:
        app.push_screen(screen)


class EpisodeScreen(Screen[None]):
    """The turns of one episode, and plots of v, q and reward."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "Turn", key_display="→", tooltip="Next turn"),
        Binding("left,b", "turn(-1)", "Previous turn", show=False),
        Binding("n", "episode(1)", "Episode", tooltip="Next episode of the list"),
        Binding("p", "episode(-1)", "Previous episode of the list", show=False),
        Binding("c", "compare", "Compare", tooltip="The same game and seed in another run"),
        Binding("escape,backspace", "app.pop_screen", "List", key_display="esc", tooltip="Back to the list"),
    ]

    def __init__(self, catalogue: Catalogue, position: int, entry: Entry) -> None:
        super().__init__()
        self.catalogue, self.position = catalogue, position
        self.item, self.entry = catalogue.shown[position], entry

    def compose(self) -> ComposeResult:
        yield Static(heading(self.entry, run=self.catalogue.labels[self.item.run]), classes="title")
        yield Horizontal(RowList(self._row, id="turns"), TurnView(id="turn"))
        yield Plots(self.entry, id="plots")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        turns = self.query_one(RowList)
        turns.count = len(self.entry.episode.steps)
        turns.focus()
        self._show()

    def _row(self, index: int, width: int) -> Text:
        return row(cell(str(index + 1), 3, "dim", right=True), turn_cell(self.entry.episode, index, width - 4))

    @on(RowList.Moved)
    def _show(self) -> None:
        turn = self.query_one(RowList).cursor
        self.query_one(TurnView).show(self.entry.episode, turn)
        self.query_one(Plots).turn = turn

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        return action != "compare" or len(self.catalogue.labels) > 1

    def action_turn(self, turns: int) -> None:
        self.query_one(RowList).cursor += turns

    def action_episode(self, episodes: int) -> None:
        """Show the next (`episodes` = 1) or previous (-1) episode of the list."""
        shown = self.catalogue.shown
        index = shown.index(self.item) if self.item in shown else self.position
        if 0 <= (position := index + episodes) < len(shown):
            open_episode(self.app, self.catalogue, position)

    def action_compare(self) -> None:
        open_comparison(self.app, self.catalogue, self.item)


class Plots(Widget):
    """The plots of an episode. The current turn is highlighted."""

    turn = reactive(0)

    def __init__(self, entry: Entry, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._series = series(entry.episode)

    def render(self) -> RenderableType:
        return plots(self._series, self.turn, self.size.width)


class ComparisonScreen(Screen[None]):
    """Two episodes side by side, and a list of turns."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "Turn", key_display="→", tooltip="Next turn"),
        Binding("left,b", "turn(-1)", "Previous turn", show=False),
        Binding("d", "difference", "Difference", tooltip="First turn at which they differ"),
        Binding("c", "next_run", "Next run", tooltip="Compare with the next run"),
        Binding("escape,backspace", "app.pop_screen", "Close", key_display="esc", tooltip="Back"),
    ]

    def __init__(self, catalogue: Catalogue, items: tuple[CatalogueItem, CatalogueItem], entries: list[Entry]) -> None:
        super().__init__()
        self.catalogue, self.items, self.entries = catalogue, items, entries
        self.episodes = [entry.episode for entry in entries]
        self.difference = first_difference(*self.episodes)

    def compose(self) -> ComposeResult:
        yield Static(self._title(), classes="title")
        runs = (self.catalogue.labels[item.run] for item in self.items)
        titles = (heading(entry, run=run, short=True) for entry, run in zip(self.entries, runs, strict=True))
        yield Horizontal(*map(Static, titles), id="headings")
        yield RowList(self._row, id="both-turns")
        yield Horizontal(TurnView(id="left"), TurnView(id="right"), id="both")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        turns = self.query_one(RowList)
        turns.count = max(len(episode.steps) for episode in self.episodes)
        turns.focus()
        self.call_after_refresh(self.action_difference)
        self._show()

    def _title(self) -> Text:
        episode = self.episodes[0]
        title = Text.assemble((display.game_name(episode.game), "bold"), (f"  seed {episode.seed}  ", "dim"))
        if self.difference is None:
            return title.append("the same texts and commands", "green")
        return title.append(f"they part at turn {self.difference + 1}", "bold yellow")

    def _row(self, index: int, width: int) -> Text:
        left = (width - 7) // 2
        line = row(
            cell("≠" if index == self.difference else "", 1, "bold red"),
            cell(str(index + 1), 3, "dim", right=True),
            turn_cell(self.episodes[0], index, left),
            turn_cell(self.episodes[1], index, width - 7 - left),
        )
        if index == self.difference:
            line.stylize("bold underline")
        return line

    @on(RowList.Moved)
    def _show(self) -> None:
        for view, episode in zip(self.query(TurnView), self.episodes, strict=True):
            view.show(episode, self.query_one(RowList).cursor)

    def action_turn(self, turns: int) -> None:
        self.query_one(RowList).cursor += turns

    def action_difference(self) -> None:
        self.query_one(RowList).cursor = self.difference or 0

    def action_next_run(self) -> None:
        open_comparison(self.app, self.catalogue, self.items[0], after_run=self.items[1].run)


def heading(entry: Entry, *, run: str, short: bool = False) -> Text:
    """Return the title of an episode, in two lines if `short` is true."""
    episode = entry.episode
    position_text = f"  {entry.location.replace(', ', '  ')}" + ("\n" if short else "  ")
    result = Text(display.summary(episode), f"bold {display.result_style(episode)}")
    parts = [result]
    if not short:
        parts = [Text(display.game_name(episode.game), "bold"), result, Text(f"return {episode.reward:+z.2f}")]
        if expert_turns := sum(step.decision.by_expert for step in episode.steps):
            parts.append(Text(f"{expert_turns} by the expert", "magenta"))
    return Text.assemble((one_line(run), "bold"), (position_text, "dim"), Text("  ").join(parts))


class TurnView(Vertical):
    """A turn: the game's text above the agent's choice and the outcome."""

    DEFAULT_CSS = """
    TurnView > .text { height: auto; max-height: 50%; }
    TurnView > .choice { height: 1fr; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._shown: tuple[Episode, int] | None = None

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(), classes="text")
        yield VerticalScroll(Static(), classes="choice")

    def show(self, episode: Episode, index: int) -> None:
        """Show the turn `index`, counted from 0."""
        self._shown = episode, index
        self.on_resize()

    def on_resize(self) -> None:
        if self._shown is None:
            return
        episode, index = self._shown
        text: RenderableType = Text("the episode has ended", "dim")
        choice: RenderableType = Text()
        if index < len(episode.steps):
            step, last = episode.steps[index], index == len(episode.steps) - 1
            before = display.points(episode.steps[index - 1].score if index else 0.0, episode.max_score)
            after = display.points(step.score, episode.max_score)
            text = display.observation_panel(step.observation, turn=index + 1, score=before)
            choice = Group(_choice(step, after, self.size.width), *([display.end_panel(episode)] if last else []))
        for name, content in (("text", text), ("choice", choice)):
            scroll = self.query_one(f".{name}")
            scroll.query_one(Static).update(content)
            scroll.scroll_home(animate=False)


def _choice(step: Step, score: str, width: int) -> RenderableType:
    bar_width = width // 5 if width >= 40 else 0
    return Group(
        display.policy_table(
            step.decision, max_commands=COMMANDS, max_tokens=len(step.decision.tokens), bar_width=bar_width
        ),
        *([Text("  an expert played this turn", "magenta")] if step.decision.by_expert else []),
        display.outcome_line(step.decision.command, reward=step.reward, score=score, advantage=step.advantage),
    )


def turn_cell(episode: Episode, index: int, width: int) -> Text:
    if index >= len(episode.steps):
        return cell("", width)
    step = episode.steps[index]
    decision, probability = step.decision, step.decision.probabilities.get(step.decision.command)
    style = "green" if step.reward > 0 else "red" if step.reward < 0 else "dim"
    return row(
        EXPERT if decision.by_expert else Text(" "),
        cell(one_line(decision.command) or '""', width - 14),
        cell("" if probability is None else f"{probability:z.0%}", 4, "dim", right=True),
        cell(f"{step.reward:+z.2f}" if step.reward else "0", 6, style, right=True),
    )
