"""A list widget that draws only its visible rows."""

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

WIDE = 90  # columns from which a terminal counts as wide


class RowList(ScrollView, can_focus=True):
    """A list with a cursor and one-line rows. `draw(index, width)` returns row `index`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(False)", "First", show=False),
        Binding("end", "jump(True)", "Last", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--cursor"}
    DEFAULT_CSS = """
    RowList { overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    RowList > .row-list--cursor { background: $block-cursor-blurred-background; }
    RowList:focus > .row-list--cursor { background: $primary-muted; }
    """
    count = reactive(0)
    cursor = reactive(0)

    class Moved(Message):
        """The cursor has moved to another row."""

        def __init__(self, rows: "RowList") -> None:
            super().__init__()
            self.rows = rows

    class Chosen(Moved):
        """The user clicked the row under the cursor."""

    def __init__(self, draw: Callable[[int, int], Text], *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._draw, self.placeholder = draw, ""

    def render_line(self, y: int) -> Strip:
        index, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        if index >= self.count:
            line = cell("" if self.count or y else self.placeholder, width, "dim")
            return Strip(line.render(self.app.console, end="")).apply_style(self.rich_style)
        style = self.get_component_rich_style("row-list--cursor") if index == self.cursor else self.rich_style
        row = Strip(self._draw(index, width).render(self.app.console, end=""))
        return row.adjust_cell_length(width).apply_style(style)

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self.count - 1))

    def watch_cursor(self) -> None:
        self._scroll_to_cursor()
        self.refresh()
        self.post_message(self.Moved(self))

    def watch_count(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self.count)
        self.cursor = self.cursor  # validates it
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self.count)
        self._scroll_to_cursor()

    def on_click(self, event: Click) -> None:
        if (index := event.y + self.scroll_offset.y) < self.count:
            if index == self.cursor:
                self.post_message(self.Chosen(self))
            self.cursor = index

    def action_move(self, rows: int) -> None:
        self.cursor += rows

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.size.height - 1)

    def action_jump(self, end: bool) -> None:
        self.cursor = self.count - 1 if end else 0

    def _scroll_to_cursor(self) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif height and self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)


def cell(text: str, width: int, style: str = "", *, right: bool = False) -> Text:
    """Return a text of exactly `width` columns. A truncated text ends with an ellipsis."""
    width = max(width, 0)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…" if width else ""
    return Text(" " * (width - cell_len(text)) + text if right else set_cell_size(text, width), style, no_wrap=True)


def row(*cells: Text) -> Text:
    return Text(" ", no_wrap=True).join(cells)
