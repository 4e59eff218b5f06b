"""Format parts of an episode as `rich` renderables or as plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rich import box
from rich.bar import Bar
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from agents.play.episode import Episode, wins
from agents.protocol import Decision, GeneratedToken
from games import readable
from terminal.texts import one_line, printable

if TYPE_CHECKING:
    from agents.play.transcript_index import EpisodeRow

EndedEpisode: TypeAlias = "Episode | EpisodeRow"
MAX_TOKENS = 64  # the number of tokens that a table of a text shows
BAR_WIDTH = 26  # the maximum width of a bar of `policy_table`
RARE_PROBABILITY = 0.01  # the probability below which q of a command is in brackets
RARE_NOTE = f"(q): p below {RARE_PROBABILITY:z.0%}, hardly trained"
MAX_COMMANDS = 6  # the number of commands that `policy_table` shows
MENU = "\n\nWould you like to RESTART"  # the start of the interpreter's menu at the end of a game
GOOD, BAD, DIM = "bold green", "bold red", "dim"


def tidy(text: str) -> str:
    """Make a game's text printable and compact. Remove the end-of-game menu."""
    tidied = re.sub(r" *\n\s*\n", "\n\n", printable(text.strip().expandtabs(4)).partition(MENU)[0].rstrip())
    return re.sub(r"(?m)^ {20,}", "    ", tidied)  # centred lines must fit into a narrow terminal


def game_name(game: str) -> str:
    """Return the name that users type for a game."""
    return one_line(readable(game))


def number(value: float) -> str:
    return f"{value:z.0f}" if float(value).is_integer() else f"{value:z.2f}"


def points(score: float, max_score: float | None) -> str:
    """Format a score. Show the maximum only if known and nonzero."""
    return f"score {number(score)}" + (f" of {number(max_score)}" if max_score else "")


def heading(*, agent: str, game: str, episode: int) -> RenderableType:
    title = Text.assemble((agent, "bold"), (" plays ", DIM), (game_name(game), "bold"), (f"  episode {episode}", DIM))
    return Padding(_Title(title), (1, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class _Title:
    """A title, on a horizontal rule if space permits."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fits = self.text.cell_len + 2 <= options.max_width
        yield Rule(self.text, style="cyan", align="left") if fits else self.text


def observation_panel(text: str, *, turn: int, score: str) -> RenderableType:
    """Return a panel with the game's text. `turn` is counted from 1."""
    return Panel(
        Text(tidy(text) or "(no text)", style="" if text.strip() else DIM),
        title=Text.assemble(("turn ", DIM), (str(turn), "bold")),
        title_align="left",
        subtitle=Text(score, style=DIM),
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="cyan",
        padding=(0, 1),
    )


def command_columns(commands: Sequence[str]) -> RenderableType:
    names = (
        Text.assemble((f"{number:2d} ", DIM), (printable(name.strip()), "cyan"))
        for number, name in enumerate(commands, 1)
    )
    return Padding(Columns(names, padding=(0, 3)), (0, 2))


def policy_table(
    decision: Decision, *, max_commands: int = MAX_COMMANDS, max_tokens: int = MAX_TOKENS, bar_width: int = BAR_WIDTH
) -> RenderableType:
    """Return a table of the most likely commands, or of a written text's tokens."""
    if decision.tokens:
        return _token_table(decision, max_tokens, bar_width)
    if not decision.probabilities:
        return Text()
    q_column = [("q", 8)] if decision.q_values else []
    table = _bar_table("  command", 40, bar_width, *q_column)
    ranked = sorted(decision.probabilities, key=lambda name: (-decision.probabilities[name], name))
    shown_names = ranked[:max_commands]
    if decision.command in ranked[max_commands:]:
        shown_names[-1] = decision.command
    for name in shown_names:
        chosen, probability, q = name == decision.command, decision.probabilities[name], decision.q_values.get(name)
        table.add_row(
            _truncated(("▶ " if chosen else "  ") + printable(name), style=GOOD if chosen else ""),
            *([_bar(probability, "green" if chosen else "blue")] if bar_width else []),
            Text(_percent(probability, bar_width), style=GOOD if chosen else ""),
            *([Text(q_text(q, probability), style=GOOD if chosen else DIM)] if q_column else []),
        )
    if hidden := [decision.probabilities[name] for name in ranked if name not in shown_names]:
        table.add_row(
            Text(f"  {len(hidden)} more", style=DIM),
            *([""] if bar_width else []),
            Text(_percent(sum(hidden), bar_width), style=DIM),
        )
    outputs = ("v {:+z.2f}", decision.value), ("entropy {:z.2f} nats", decision.entropy)
    notes = [form.format(number) for form, number in outputs if number is not None]
    if q_column and any(decision.probabilities[name] < RARE_PROBABILITY for name in shown_names):
        notes.append(RARE_NOTE)
    return Group(table, Padding(Text("   ".join(notes), style=DIM), (0, 0, 0, 2), expand=False))


def q_text(q: float | None, probability: float) -> str:
    if q is None:
        return ""
    return f"({q:+z.2f})" if probability < RARE_PROBABILITY else f"{q:+z.2f} "


def _token_table(decision: Decision, max_tokens: int, bar_width: int) -> RenderableType:
    width = 8 if bar_width else 7
    q_column = [] if decision.tokens[0].q_value is None else [("q", width)]
    table = _bar_table("  token", 26, min(bar_width, 20), ("v", width), *q_column)
    for token in decision.tokens[:max_tokens]:
        p = token.probability
        values = (token.value, token.q_value) if q_column else (token.value,)
        numbers = (Text("" if x is None else f"{x:+z.2f}", style=DIM) for x in values)
        table.add_row(
            _truncated(f"  {token_text(token)}"),
            *([_bar(p, "blue")] if bar_width else []),
            _percent(p, bar_width),
            *numbers,
        )
    hidden_count = len(decision.tokens) - max_tokens
    note = f"entropy {(decision.entropy or 0.0) / len(decision.tokens):z.2f} nats per token"
    note = f"{hidden_count} more tokens   {note}" if hidden_count > 0 else note
    return Group(table, Padding(Text(note, style=DIM), (0, 0, 0, 2), expand=False))


def _percent(probability: float, bar_width: int) -> str:
    return f"{probability:z.1%}" if bar_width else f"{probability:z.0%}"


def _bar(probability: float, colour: str) -> Bar:
    bar = Bar(1.0, 0.0, probability)
    bar.style = Style(color=colour)  # the constructor also sets a background, which differs from that of `watch`
    return bar


def _bar_table(title: str, text_width: int, bar_width: int, *number_columns: tuple[str, int]) -> Table:
    return Table(
        Column(Text(title.ljust(text_width), no_wrap=True, overflow="crop"), max_width=text_width),
        *([Column("probability" if bar_width > 10 else "p", max_width=bar_width)] if bar_width else []),
        Column("" if bar_width else "p", justify="right", width=7 if bar_width else 5, no_wrap=True),
        *(Column(name, justify="right", width=width, no_wrap=True) for name, width in number_columns),
        box=None,
        padding=(0, 1 if bar_width else 0),
        pad_edge=False,
        header_style=DIM,
    )


def _truncated(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def token_text(token: GeneratedToken) -> str:
    return f'"{printable(token.text)}"'.replace("\n", "\\n")  # quoted, so that blanks are visible


def outcome_line(command: str | None, *, reward: float, score: str, advantage: float | None = None) -> RenderableType:
    """Return a line with the command (unless None), the reward and the score."""
    line = Text() if command is None else Text.assemble((printable(command), "bold"), "   ")
    style = GOOD if reward > 0 else BAD if reward < 0 else DIM
    line.append(f"reward {number(reward)}" if reward == 0 else f"reward {reward:+z.4g}", style=style)
    line.append(f"   {score}", style=DIM)
    if advantage is not None:
        line.append(f"   advantage {advantage:+z.3f}", style="magenta")
    table = Table.grid()
    table.add_row(Text("   " if command is None else " > ", "bold cyan"), line)
    return Padding(table, (0, 0, 1, 0))


def result_style(episode: EndedEpisode) -> str:
    return "green" if episode.won else "red" if episode.lost or episode.error else "yellow"


def result(episode: EndedEpisode) -> str:
    if episode.error is not None:
        return "failed"
    if episode.won or episode.lost:
        return "won" if episode.won else "lost"
    return "over" if episode.terminated else "turn limit"


def summary(episode: Episode) -> str:
    turns = "1 turn" if len(episode.steps) == 1 else f"{len(episode.steps)} turns"
    error = f": {one_line(episode.error)}" if episode.error else ""
    return f"{result(episode)}, {points(episode.score, episode.max_score)}, {turns}{error}"


def end_panel(episode: Episode) -> RenderableType:
    style, text = result_style(episode), Text(tidy(episode.final_observation))
    line = Text(summary(episode), style=f"bold {style}")
    return Panel(Group(text, Text(), line) if text else line, box=box.HEAVY, border_style=style, padding=(0, 1))


def episode_table(episodes: Sequence[Episode]) -> RenderableType:
    count, outcomes = len(episodes), wins(episodes)
    table = Table(
        Column("episode", justify="right", footer="mean"),
        Column("game", overflow="fold"),
        Column("result", footer=f"{sum(outcomes)} of {len(outcomes)} won" if outcomes else ""),
        Column("score", justify="right", footer=number(sum(episode.score for episode in episodes) / count)),
        Column("turns", justify="right", footer=number(sum(len(episode.steps) for episode in episodes) / count)),
        box=box.SIMPLE_HEAD,
        header_style="bold",
        show_footer=True,
    )
    for episode in episodes:
        score = number(episode.score) + (f"/{number(episode.max_score)}" if episode.max_score else "")
        outcome = Text(result(episode), style=result_style(episode))
        table.add_row(str(episode.index), game_name(episode.game), outcome, score, str(len(episode.steps)))
    return table
