"""The list of all keys."""

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from terminal.watcher.comparison_screen import ComparisonScreen
from terminal.watcher.episode_screen import EpisodeScreen
from terminal.watcher.list_screen import ListScreen
from terminal.watcher.row_list import RowList


class HelpScreen(ModalScreen[None]):
    """The keys of all screens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "dismiss", "Close"),
        Binding("q,ctrl+c", "app.quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(_keys(self.app))


def _keys(app: App[Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    parts = {
        "Everywhere": app.BINDINGS,
        "In lists": RowList.BINDINGS,
        "List of episodes": ListScreen.BINDINGS,
        "Episode": EpisodeScreen.BINDINGS,
        "Two runs": ComparisonScreen.BINDINGS,
    }
    for title, bindings in parts.items():
        table.add_row(Text(title, "bold"))
        for binding in bindings:
            assert isinstance(binding, Binding)
            table.add_row(Text(_names(binding), "cyan"), binding.tooltip or binding.description)
        table.add_row()
    table.add_row(Text("Marks", "bold"))
    table.add_row(Text("E", "bold magenta"), "an expert played this turn")
    table.add_row(Text("≠", "bold red"), "the first turn at which two runs differ")
    return table


def _names(binding: Binding) -> str:
    """Return the keys of a binding as they are labelled on a keyboard."""
    names = {"question_mark": "?", "slash": "/", "escape": "esc", "right": "→", "left": "←", "up": "↑", "down": "↓"}
    return ", ".join(names.get(key, key) for key in binding.key.split(","))
