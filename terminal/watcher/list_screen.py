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
from terminal.watcher.catalogue import Batch, Catalogue, CatalogueItem
from terminal.watcher.episode_rows import describe, episode_row, titles
from terminal.watcher.episode_screens import open_comparison, open_episode
from terminal.watcher.row_list import RowList

POLL_SECONDS = 1.0


class ListScreen(Screen[None]):
    """The list of episodes that match the filter. A cursor on the last row moves to new episodes."""

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
        self._reading, self._stop_reading = True, threading.Event()

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
        self._stop_reading.set()

    def on_resize(self) -> None:
        self.query_one("#columns", Static).update(titles(self.size.width, self.catalogue.columns))

    @work(thread=True)
    def _read(self) -> None:
        try:
            while True:
                for batch in self.catalogue.read(growing=self.follow):
                    if self._stop_reading.is_set():
                        return
                    self._call_in_app(self._add, batch)
                self._call_in_app(self._finish)
                if not self.follow or self._stop_reading.wait(POLL_SECONDS):
                    return
        except AgentError as error:
            self._call_in_app(self.app.exit, error)

    @work(thread=True, exclusive=True, group="filter")
    def _filter(self) -> None:
        worker, episode_filter, items = get_current_worker(), self.catalogue.episode_filter, self.catalogue.items
        count, accepted = len(items), list[CatalogueItem]()
        try:
            for item in items[:count]:
                if worker.is_cancelled:
                    return
                if episode_filter.accepts(item.row):
                    accepted.append(item)
            self._call_in_app(self._show_filtered, episode_filter, items, count, accepted)
        except AgentError as error:
            self._call_in_app(self.app.exit, error)

    def _call_in_app(self, function: Any, *arguments: Any) -> None:
        if not self._stop_reading.is_set() and self.app.is_running:
            self.app.call_from_thread(function, *arguments)

    def _show_filtered(
        self, episode_filter: EpisodeFilter, items: list[CatalogueItem], count: int, accepted: list[CatalogueItem]
    ) -> None:
        """Show the items that match the filter. `accepted` holds the matches among the first `count` items."""
        catalogue = self.catalogue
        if catalogue.episode_filter is not episode_filter:
            return
        if catalogue.items is not items:  # a transcript was replaced
            count, accepted = 0, []
        item = self._current()
        catalogue.show([*accepted, *(item for item in catalogue.items[count:] if episode_filter.accepts(item.row))])
        self._update(item)

    def _add(self, batch: Batch) -> None:
        item = None if self._cursor >= len(self.catalogue.shown) - 1 else self._current()
        self.catalogue.add(batch)
        self._update(item)

    def _update(self, item: CatalogueItem | None) -> None:
        rows, shown = self.query_one(RowList), self.catalogue.shown
        rows.count = len(shown)
        rows.placeholder = "no episode matches the filter; x removes it" if self.catalogue.items else ""
        rows.cursor = shown.index(item) if item in shown else len(shown) - 1
        rows.refresh()
        self._show_status()

    def _finish(self) -> None:
        self._reading = False
        self._show_status()
        if not self.follow and not self.catalogue.items:
            self.app.exit(AgentError("these transcripts hold no episodes yet"))

    def _row(self, index: int, width: int) -> Text:
        item = self.catalogue.shown[index]
        return episode_row(item.row, width, self.catalogue.columns, run=self.catalogue.labels[item.run])

    @property
    def _cursor(self) -> int:
        return self.query_one(RowList).cursor

    def _current(self) -> CatalogueItem | None:
        shown = self.catalogue.shown
        return shown[self._cursor] if shown else None

    def _show_status(self) -> None:
        catalogue = self.catalogue
        total, shown = len(catalogue.items), len(catalogue.shown)
        shown_of = "" if shown == total else f"{shown:,} of "
        filter_text = ", ".join(one_line(text) for text in describe(catalogue.episode_filter))
        status = Text.assemble(
            ", ".join(map(one_line, catalogue.labels)),
            (f"  {shown_of}{total:,} {'episode' if total == 1 else 'episodes'}", "default"),
            ("  reading…" if self._reading else "  following" if self.follow else "", "dim"),
            (f"  {filter_text}" if filter_text else "", "bold yellow"),
            style="bold",
        )
        self.query_one("#status", Static).update(status)

    @on(RowList.Chosen)
    def action_open(self) -> None:
        if self.catalogue.shown:
            open_episode(self.app, self.catalogue, self._cursor)

    def action_compare(self) -> None:
        if item := self._current():
            open_comparison(self.app, self.catalogue, item)

    def action_search(self) -> None:
        search = self.query_one(Input)
        search.display = True
        search.value = self.catalogue.episode_filter.text or ""
        search.focus()

    @on(Input.Submitted)
    def _search(self, event: Input.Submitted) -> None:
        self._close_search()
        self._change_filter(text=event.value or None)

    def _close_search(self) -> None:
        self.query_one(Input).display = False
        self.query_one(RowList).focus()

    def action_only(self, name: str) -> None:
        other = "lost" if name == "won" else "won"
        self._change_filter(**{name: not getattr(self.catalogue.episode_filter, name), other: False})

    def action_same(self, name: str) -> None:
        """Toggle a filter for episodes that share the property `name` (such as level) with the current episode."""
        if getattr(self.catalogue.episode_filter, name) is not None:
            self._change_filter(**{name: None})
        elif item := self._current():
            row = item.row
            self._change_filter(
                **{name: {"exact_game": row.game, "level": row.level, "iteration": row.iteration + 1}[name]}
            )

    def action_clear(self) -> None:
        if self.query_one(Input).display:
            self._close_search()
        else:
            self._change_filter(**asdict(EpisodeFilter()))

    def _change_filter(self, **changes: Any) -> None:
        self.catalogue.episode_filter = replace(self.catalogue.episode_filter, **changes)
        self._show_status()
        self._filter()
