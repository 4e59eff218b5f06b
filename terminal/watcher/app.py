"""The terminal application of `watch`."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from agents.play.transcript_index import EpisodeFilter
from agents.protocol import AgentError
from terminal.watcher.catalogue import Catalogue
from terminal.watcher.episode_screens import ComparisonScreen, EpisodeScreen
from terminal.watcher.list_screen import ListScreen
from terminal.watcher.row_list import WIDE, RowList


class Watcher(App[AgentError]):
    """The application. `run` returns the error that ended the application, or None."""

    TITLE = "watch"
    CSS_PATH = "watcher.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012  # as textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+c", "quit", "Quit", key_display="q"),
        Binding("tab", "app.focus_next", "Next part: arrows and page keys scroll it", show=False),
        Binding("t", "turn_theme", "Dark or light", show=False),
    ]

    def __init__(self, paths: Sequence[Path], episode_filter: EpisodeFilter, *, follow: bool = False) -> None:
        super().__init__()
        self.catalogue = Catalogue(paths, episode_filter)
        self.follow = follow

    def on_mount(self) -> None:
        self.push_screen(ListScreen(self.catalogue, follow=self.follow))

    def action_turn_theme(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())


class HelpScreen(ModalScreen[None]):
    """A screen that lists the keys of all screens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "dismiss", "Close"),
        Binding("q,ctrl+c", "app.quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(_keys()))


def _keys() -> Table:
    parts = {
        "Everywhere": Watcher.BINDINGS,
        "In lists": RowList.BINDINGS,
        "List of episodes": ListScreen.BINDINGS,
        "Episode": EpisodeScreen.BINDINGS,
        "Two runs": ComparisonScreen.BINDINGS,
    }
    names = {"question_mark": "?", "slash": "/", "escape": "esc", "right": "→", "left": "←", "up": "↑", "down": "↓"}
    table = Table.grid(padding=(0, 2))
    for title, bindings in parts.items():
        table.add_row(Text(title, "bold"))
        for binding in bindings:
            assert isinstance(binding, Binding)
            keys = ", ".join(names.get(key, key) for key in binding.key.split(","))
            table.add_row(Text(keys, "cyan"), binding.tooltip or binding.description)
        table.add_row()
    table.add_row(Text("Marks", "bold"))
    table.add_row(Text("E", "bold magenta"), "an expert played this turn")
    table.add_row(Text("≠", "bold red"), "the first turn at which two runs differ")
    return table
