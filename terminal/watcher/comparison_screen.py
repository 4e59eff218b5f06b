"""Two runs side by side on the same game and seed."""

from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Static

from agents.play.transcript import Entry
from agents.play.transcript_index import read_episode
from agents.protocol import AgentError
from terminal import display
from terminal.texts import one_line
from terminal.watcher import turn_view
from terminal.watcher.catalogue import Catalogue, Place, first_difference
from terminal.watcher.row_list import RowList, cell, row


def open_comparison(app: App[Any], catalogue: Catalogue, place: Place, after: int | None = None) -> None:
    """Show an episode side by side with an episode of another run that has the same game and seed.

    The other run is the next one that has such an episode, in the order of the command line. The search begins after
    run number `after`, or after the run of the episode `place` if `after` is None. After the last run, it continues
    with the first.
    """
    runs, start = len(catalogue.labels), place.run if after is None else after
    others = [run % runs for run in range(start + 1, start + 1 + runs) if run % runs != place.run]
    partner = next((found for run in others if (found := catalogue.partner(place, run))), None)
    if partner is None:
        app.notify("no other run played this game with this seed", severity="warning")
        return
    try:
        entries = read_episode(place.row), read_episode(partner.row)
    except AgentError as error:
        app.notify(one_line(str(error)), severity="error", markup=False)
        return
    screen = ComparisonScreen(catalogue, (place, partner), entries)
    if isinstance(app.screen, ComparisonScreen):
        app.switch_screen(screen)
    else:
        app.push_screen(screen)


class ComparisonScreen(Screen[None]):
    """The screen of two episodes side by side. A list aligns their turns, and marks the first one that differs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "Turn", key_display="→", tooltip="Next turn"),
        Binding("left,b", "turn(-1)", "Previous turn", show=False),
        Binding("d", "difference", "Difference", tooltip="First turn at which they differ"),
        Binding("c", "next_run", "Next run", tooltip="Compare with the next run"),
        Binding("escape,backspace", "app.pop_screen", "Close", key_display="esc", tooltip="Back"),
    ]

    def __init__(self, catalogue: Catalogue, places: tuple[Place, Place], entries: tuple[Entry, Entry]) -> None:
        super().__init__()
        self.catalogue, self.places = catalogue, places
        self.entries = entries
        self.episodes = [entry.episode for entry in entries]
        self.difference = first_difference(*self.episodes)

    def compose(self) -> ComposeResult:
        yield Static(self._title(), classes="title")
        with Horizontal(id="headings"):
            for place, entry in zip(self.places, self.entries, strict=True):
                yield Static(turn_view.short_heading(entry, run=self.catalogue.labels[place.run]))
        yield RowList(self._row, id="both-turns")
        with Horizontal(id="both"):
            for side in ("left", "right"):
                yield turn_view.TurnView(id=side)
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
        number = cell(str(index + 1), 3, "dim", right=True)
        mark = cell("≠" if index == self.difference else "", 1, "bold red")
        left = (width - 7) // 2
        cells = (turn_view.turn_cell(e, index, w) for e, w in zip(self.episodes, (left, width - 7 - left), strict=True))
        line = row(mark, number, *cells)
        if index == self.difference:
            line.stylize("bold underline")
        return line

    @on(RowList.Moved)
    def _show(self) -> None:
        for view, episode in zip(self.query(turn_view.TurnView), self.episodes, strict=True):
            view.show(episode, self.query_one(RowList).cursor)

    def action_turn(self, turns: int) -> None:
        self.query_one(RowList).cursor += turns

    def action_difference(self) -> None:
        self.query_one(RowList).cursor = self.difference or 0

    def action_next_run(self) -> None:
        open_comparison(self.app, self.catalogue, self.places[0], after=self.places[1].run)
