"""The list of episodes, with filters."""

import threading
from dataclasses import asdict, replace
from typing import Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Input, Static
from textual.worker import get_current_worker

from agents.play.transcript_index import EpisodeFilter
from agents.protocol import AgentError
from terminal.texts import one_line
from terminal.watcher.catalogue import Batch, Catalogue, Place
from terminal.watcher.episode_rows import describe, episode_row, titles
from terminal.watcher.episode_screens import open_comparison, open_episode
from terminal.watcher.row_list import RowList

POLL_SECONDS = 1.0


class ListScreen(Screen[None]):
    """The list of episodes that the filter matches. A cursor on the last row follows new episodes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="⏎", tooltip="Open the episode"),
        Binding("slash", "search", "Search", key_display="/", tooltip="Search in texts and commands"),
        Binding("w", "only('won')", "Won", tooltip="Only episodes that were won, or all"),
        Binding("l", "only('lost')", "Not won", tooltip="Only episodes that were not won, or all"),
        Binding("g", "same('exact_game')", "Only this game, or all", show=False),
        Binding("v", "same('level')", "Only this level, or all", show=False),
        Binding("i", "same('iteration')", "Only this iteration, or all", show=False),
        Binding("x,escape", "clear", "Remove all filters", show=False),
        Binding("c", "compare", "Compare", tooltip="The same game and seed in another run"),
    ]

    def __init__(self, catalogue: Catalogue, *, follow: bool) -> None:
        super().__init__()
        self.catalogue, self.follow = catalogue, follow
        self._reading, self._left = True, threading.Event()

    def compose(self) -> ComposeResult:
        yield Static(id="status", classes="title")
        yield Static(id="columns")
        yield RowList(self._row, id="episodes")
        yield Input(placeholder="text in observations and commands; Enter searches", id="search", compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        return action != "compare" or len(self.catalogue.labels) > 1

    def on_mount(self) -> None:
        self.query_one(RowList).focus()
        self._show_status()
        self._read()

    def on_unmount(self) -> None:
        self._left.set()

    def on_resize(self) -> None:
        self.query_one("#columns", Static).update(titles(self.size.width, self.catalogue.columns))

    @work(thread=True)
    def _read(self) -> None:
        try:
            while True:
                for batch in self.catalogue.read(growing=self.follow):
                    if self._left.is_set():
                        return
                    self._in_app(self._add, batch)
                self._in_app(self._finish)
                if not self.follow or self._left.wait(POLL_SECONDS):
                    return
        except AgentError as error:
            self._in_app(self.app.exit, error)

    @work(thread=True, exclusive=True, group="filter")
    def _filter(self) -> None:
        worker, wanted, places = get_current_worker(), self.catalogue.wanted, self.catalogue.places
        count, kept = len(places), list[Place]()
        try:
            for place in places[:count]:
                if worker.is_cancelled:
                    return
                if wanted.accepts(place.row):
                    kept.append(place)
            self._in_app(self._show_filtered, wanted, places, count, kept)
        except AgentError as error:
            self._in_app(self.app.exit, error)

    def _in_app(self, function: Any, *arguments: Any) -> None:
        """Call a function in the application's thread, unless the application has ended."""
        if not self._left.is_set() and self.app.is_running:
            self.app.call_from_thread(function, *arguments)

    def _show_filtered(self, wanted: EpisodeFilter, places: list[Place], count: int, kept: list[Place]) -> None:
        """Show the matching episodes. `kept` holds those among the first `count` of `places`."""
        now = self.catalogue
        if now.wanted is not wanted:
            return
        if now.places is not places:  # a transcript was replaced
            count, kept = 0, []
        place = self._current()
        now.show([*kept, *(place for place in now.places[count:] if wanted.accepts(place.row))])
        self._update(place)

    def _add(self, batch: Batch) -> None:
        place = None if self._cursor >= len(self.catalogue.shown) - 1 else self._current()
        self.catalogue.add(batch)
        self._update(place)

    def _update(self, place: Place | None) -> None:
        rows, shown = self.query_one(RowList), self.catalogue.shown
        rows.count = len(shown)
        rows.placeholder = "no episode matches the filter; x removes it" if self.catalogue.places else ""
        rows.cursor = shown.index(place) if place in shown else len(shown) - 1
        rows.refresh()
        self._show_status()

    def _finish(self) -> None:
        self._reading = False
        self._show_status()
        if not self.follow and not self.catalogue.places:
            self.app.exit(AgentError("these transcripts hold no episodes yet"))

    def _row(self, index: int, width: int) -> Text:
        place = self.catalogue.shown[index]
        return episode_row(place.row, width, self.catalogue.columns, run=self.catalogue.labels[place.run])

    @property
    def _cursor(self) -> int:
        return self.query_one(RowList).cursor

    def _current(self) -> Place | None:
        shown = self.catalogue.shown
        return shown[self._cursor] if shown else None

    def _show_status(self) -> None:
        catalogue = self.catalogue
        total, shown = len(catalogue.places), len(catalogue.shown)
        of_all = "" if shown == total else f"{shown:,} of "
        chosen = ", ".join(one_line(text) for text in describe(catalogue.wanted))
        status = Text.assemble(
            ", ".join(map(one_line, catalogue.labels)),
            (f"  {of_all}{total:,} {'episode' if total == 1 else 'episodes'}", "default"),
            ("  reading…" if self._reading else "  following" if self.follow else "", "dim"),
            (f"  {chosen}" if chosen else "", "bold yellow"),
            style="bold",
        )
        self.query_one("#status", Static).update(status)

    @on(RowList.Chosen)
    def action_open(self) -> None:
        if self.catalogue.shown:
            open_episode(self.app, self.catalogue, self._cursor)

    def action_compare(self) -> None:
        if place := self._current():
            open_comparison(self.app, self.catalogue, place)

    def action_search(self) -> None:
        search = self.query_one(Input)
        search.display = True
        search.value = self.catalogue.wanted.text or ""
        search.focus()

    @on(Input.Submitted)
    def _search(self, event: Input.Submitted) -> None:
        self._close_search()
        self._choose(text=event.value or None)

    def _close_search(self) -> None:
        self.query_one(Input).display = False
        self.query_one(RowList).focus()

    def action_only(self, name: str) -> None:
        other = "lost" if name == "won" else "won"
        self._choose(**{name: not getattr(self.catalogue.wanted, name), other: False})

    def action_same(self, name: str) -> None:
        """Filter by the current episode's `exact_game`, `level` or `iteration`, or remove this filter."""
        if getattr(self.catalogue.wanted, name) is not None:
            self._choose(**{name: None})
        elif place := self._current():
            row = place.row
            self._choose(**{name: {"exact_game": row.game, "level": row.level, "iteration": row.iteration + 1}[name]})

    def action_clear(self) -> None:
        if self.query_one(Input).display:
            self._close_search()
        else:
            self._choose(**asdict(EpisodeFilter()))

    def _choose(self, **changes: Any) -> None:
        self.catalogue.wanted = replace(self.catalogue.wanted, **changes)
        self._show_status()
        self._filter()
