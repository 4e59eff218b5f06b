"""One episode: its turns, the current turn, and plots of v, q and reward."""

from typing import Any, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from agents.play.transcript import Entry
from agents.play.transcript_index import read_episode
from agents.protocol import AgentError
from terminal.texts import one_line
from terminal.watcher import turn_view
from terminal.watcher.catalogue import Catalogue
from terminal.watcher.comparison_screen import open_comparison
from terminal.watcher.plots import plots, series
from terminal.watcher.row_list import RowList, cell, row


def open_episode(app: App[Any], catalogue: Catalogue, position: int, *, replace: bool = False) -> None:
    """Show the episode with the index `position` in the list. If it cannot be read, show why.

    `replace` tells whether the screen of the episode replaces the current screen.
    """
    try:
        entry = read_episode(catalogue.shown[position].row)
    except AgentError as error:
        app.notify(one_line(str(error)), severity="error", markup=False)
        return
    if not entry.episode.steps:
        app.notify("this episode has no turns", severity="warning")
    elif replace:
        app.switch_screen(EpisodeScreen(catalogue, position, entry))
    else:
        app.push_screen(EpisodeScreen(catalogue, position, entry))


class EpisodeScreen(Screen[None]):
    """The screen of one episode.

    `position` is the index of the episode in `catalogue.shown`.
    """

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
        self.place, self.entry = catalogue.shown[position], entry

    def compose(self) -> ComposeResult:
        run = self.catalogue.labels[self.place.run]
        yield Static(turn_view.heading(self.entry, run=run), classes="title")
        with Horizontal():
            yield RowList(self._row, id="turns")
            yield turn_view.TurnView(id="turn")
        yield Plots(self.entry, id="plots")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        turns = self.query_one(RowList)
        turns.count = len(self.entry.episode.steps)
        turns.focus()
        self._show()

    def _row(self, index: int, width: int) -> Text:
        return row(
            cell(str(index + 1), 3, "dim", right=True), turn_view.turn_cell(self.entry.episode, index, width - 4)
        )

    @on(RowList.Moved)
    def _show(self) -> None:
        turn = self.query_one(RowList).cursor
        self.query_one(turn_view.TurnView).show(self.entry.episode, turn)
        self.query_one(Plots).show(turn)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        return action != "compare" or self.catalogue.has_others

    def action_turn(self, turns: int) -> None:
        self.query_one(RowList).cursor += turns

    def action_episode(self, episodes: int) -> None:
        """Show the next episode of the list (`episodes` is 1) or the previous one (-1).

        The list may have changed since the current episode was opened.
        """
        shown = self.catalogue.shown
        here = shown.index(self.place) if self.place in shown else self.position
        if 0 <= (position := here + episodes) < len(shown):
            open_episode(self.app, self.catalogue, position, replace=True)

    def action_compare(self) -> None:
        open_comparison(self.app, self.catalogue, self.place)


class Plots(Widget):
    """The plots of an episode, with the current turn highlighted."""

    def __init__(self, entry: Entry, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._series, self._turn = series(entry.episode), 0

    def show(self, turn: int) -> None:
        self._turn = turn
        self.refresh()

    def render(self) -> RenderableType:
        return plots(self._series, self._turn, self.size.width)
