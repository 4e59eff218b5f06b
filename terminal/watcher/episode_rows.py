"""Format the rows of the episode list and the filter."""

from collections.abc import Mapping

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from agents.play.transcript_index import EpisodeFilter, EpisodeRow
from terminal import display
from terminal.texts import one_line
from terminal.watcher.row_list import WIDE, cell, row

# column -> its widths in a wide and in a narrow terminal
COLUMNS = {
    "run": (16, 6),
    "iteration": (5, 4),
    "episode": (7, 5),
    "level": (5, 2),
    "result": (10, 6),
    "total": (8, 6),
    "turns": (5, 5),
    "expert": (6, 4),
}
LEFT_ALIGNED = ("run", "result")  # columns without numbers
WIDE_TITLES = {"iteration": "iter", "total": "return"}
NARROW_TITLES = {"iteration": "it", "episode": "ep", "level": "lv", "total": "return", "expert": "ex"}


def titles(width: int, columns: Mapping[str, bool]) -> Text:
    """Return the title row. `columns` maps names of optional columns to whether they are shown."""
    names = {name: name for name in COLUMNS if columns.get(name, True)}
    short = WIDE_TITLES if width >= WIDE else NARROW_TITLES
    names |= {name: title for name, title in short.items() if name in names}
    line = _arrange(width - 1, names, "game", {})  # the scroll bar takes one column
    line.stylize("bold")
    return line


def episode_row(episode: EpisodeRow, width: int, columns: Mapping[str, bool], *, run: str) -> Text:
    result = display.result(episode)
    texts = {
        "run": one_line(run),
        "iteration": str(episode.iteration + 1),
        "episode": str(episode.index),
        "level": "" if episode.level is None else str(episode.level),
        "result": "limit" if width < WIDE - 1 and result == "turn limit" else result,
        "total": f"{episode.reward:+z.2f}",
        "turns": str(episode.turns),
        "expert": f"{episode.expert_turns / episode.turns:z.0%}" if episode.expert_turns else "",
    }
    styles = {"result": display.result_style(episode), "run": "cyan", "expert": "magenta"}
    texts = {name: text for name, text in texts.items() if columns.get(name, True)}
    return _arrange(width, texts, display.game_name(episode.game), styles)


def _arrange(width: int, texts: Mapping[str, str], game: str, styles: Mapping[str, str]) -> Text:
    wide = width >= WIDE - 1
    cells = {
        name: cell(text, COLUMNS[name][0 if wide else 1], styles.get(name, ""), right=name not in LEFT_ALIGNED)
        for name, text in texts.items()
    }
    game_width = width - sum(column.cell_len + 1 for column in cells.values())
    game_cell = cell(game if wide and cell_len(game) <= game_width else short_game(game, game_width), game_width)
    parts, game_position = list(cells.values()), list(cells).index("result")
    return row(*parts[:game_position], game_cell, *parts[game_position:])


def short_game(game: str, width: int) -> str:
    """Shorten a game's name. Leave out `textworld:` and the level."""
    name, _, query = game.removeprefix("textworld:").partition("?")
    settings = [setting for setting in query.split("&") if setting and not setting.startswith("level=")]
    short = f"{name}?{'&'.join(settings)}" if settings else name
    seed = next((setting for setting in settings if setting.startswith("seed=")), "")
    if cell_len(short) <= width or not seed:
        return short
    # the seed stays whole
    return f"{set_cell_size(name, max(0, min(cell_len(name), width - len(seed) - 1)))}…{seed}"


def describe(episode_filter: EpisodeFilter) -> list[str]:
    words = {
        "won": "won",
        "lost": "not won",
        "game": f"game {episode_filter.game}",
        "exact_game": f"game {display.game_name(episode_filter.exact_game or '')}",
        "level": f"level {episode_filter.level}",
        "iteration": f"iteration {episode_filter.iteration}",
        "episode": f"episode {episode_filter.episode}",
        "text": f"with “{episode_filter.text}”",
    }
    unset = EpisodeFilter()
    return [text for name, text in words.items() if getattr(episode_filter, name) != getattr(unset, name)]
