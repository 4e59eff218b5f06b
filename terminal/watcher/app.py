"""The terminal application of `watch`: a list of episodes, one episode, and two episodes side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from agents.play.transcript_index import EpisodeFilter
from agents.protocol import AgentError
from terminal.watcher.catalogue import Catalogue
from terminal.watcher.list_screen import ListScreen
from terminal.watcher.row_list import WIDE


class Watcher(App[AgentError]):
    """The application. `run` returns the error that ended it, or None.

    Args:
        paths: the transcripts.
        wanted: the filter at the start.
        follow: whether to show episodes that are written later.
    """

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

    def __init__(self, paths: Sequence[Path], wanted: EpisodeFilter, *, follow: bool = False) -> None:
        super().__init__()
        self.catalogue = Catalogue(paths, wanted)
        self.follow = follow

    def on_mount(self) -> None:
        self.push_screen(ListScreen(self.catalogue, follow=self.follow))

    def action_turn_theme(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        from terminal.watcher.help_screen import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())
