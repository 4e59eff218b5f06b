"""Parts of an episode as rich renderables and as plain text."""

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agents.play.episode import Episode
from agents.protocol import Decision

CANDIDATES = 6
"""Maximum number of commands with a bar; the chosen one is always among them."""

MENU = "\n\nWould you like to RESTART"
"""Start of the interpreter's menu after the end of a TextWorld game, which is not shown."""

GOOD, BAD, QUIET = "bold green", "bold red", "dim"


def printable(text: str) -> str:
    """The text with control characters escaped, so that a game cannot control the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def tidy(text: str) -> str:
    """A game's text: printable, without repeated blank lines and without the menu at the end."""
    return re.sub(r"[ \t]*\n\s*\n", "\n\n", printable(text.strip()).partition(MENU)[0].rstrip())


def number(value: float) -> str:
    """Whole numbers without decimals, others with two."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def points(score: float, max_score: float | None) -> str:
    """The score and, if it is known, the maximum."""
    return f"score {number(score)}" + ("" if max_score is None else f" of {number(max_score)}")


def heading(*, agent: str, game: str, episode: int) -> RenderableType:
    """The title line of an episode."""
    title = Text.assemble((agent, "bold"), (" plays ", QUIET), (game, "bold"), (f"  episode {episode}", QUIET))
    return Padding(Rule(title, style="cyan", align="left"), (1, 0, 0, 0))


def observation_panel(text: str, *, turn: int, score: str) -> RenderableType:
    """The game's text at a turn, counted from 1."""
    title = Text.assemble(("turn ", QUIET), (str(turn), "bold"))
    return Panel(
        Text(tidy(text) or "(no text)", style="" if text.strip() else QUIET),
        title=title,
        title_align="left",
        subtitle=Text(score, style=QUIET),
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="cyan",
        padding=(0, 1),
    )


def command_columns(commands: Sequence[str]) -> RenderableType:
    """The admissible commands, for a person."""
    return Padding(Columns([Text(printable(name), style="cyan") for name in commands], padding=(0, 3)), (0, 2))


def policy_table(decision: Decision) -> RenderableType:
    """The likeliest commands with probability and q, then v and entropy; empty without probabilities."""
    if not decision.probabilities:
        return Text()
    shown, rest = candidates(decision)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style=QUIET)
    table.add_column("  considers", width=40, no_wrap=True, overflow="ellipsis")
    table.add_column("probability", width=26, no_wrap=True)
    table.add_column(justify="right", width=7)
    table.add_column("q" if decision.q_values else "", justify="right", width=8)
    for name in shown:
        chosen = name == decision.command
        probability = decision.probabilities[name]
        q = decision.q_values.get(name)
        table.add_row(
            Text(("▶ " if chosen else "  ") + printable(name), style=GOOD if chosen else ""),
            _bar(probability, "green" if chosen else "blue"),
            Text(f"{probability:.1%}", style=GOOD if chosen else ""),
            Text("" if q is None else f"{q:+.2f}", style=GOOD if chosen else QUIET),
        )
    if rest:
        left = sum(decision.probabilities[name] for name in rest)
        table.add_row(Text(f"  {len(rest)} more", style=QUIET), "", Text(f"{left:.1%}", style=QUIET), "")
    return Group(table, Text("  " + state_line(decision), style=QUIET))


def _bar(share: float, style: str) -> RenderableType:
    """A bar of 26 columns, filled up to `share`."""
    return ProgressBar(total=1.0, completed=share, width=26, style="grey19", complete_style=style, finished_style=style)


def candidates(decision: Decision) -> tuple[list[str], list[str]]:
    """The commands to show, likeliest first, the chosen one among them; and the others."""
    ranked = sorted(decision.probabilities, key=lambda name: (-decision.probabilities[name], name))
    shown, rest = ranked[:CANDIDATES], ranked[CANDIDATES:]
    if decision.command in rest:
        rest = [shown.pop(), *(name for name in rest if name != decision.command)]
        shown.append(decision.command)
    return shown, rest


def state_line(decision: Decision) -> str:
    """Value and entropy of the state, if the agent has them."""
    parts = [
        "" if decision.value is None else f"v {decision.value:+.2f}",
        "" if decision.entropy is None else f"entropy {decision.entropy:.2f} nats",
    ]
    return "   ".join(part for part in parts if part)


def outcome_line(command: str | None, *, reward: float, score: str, advantage: float | None = None) -> RenderableType:
    """The chosen command (None: the person at the terminal typed it), its reward and the score."""
    style = GOOD if reward > 0 else BAD if reward < 0 else QUIET
    line = Text("   ")
    if command is not None:
        line = Text.assemble((" > ", "bold cyan"), (printable(command), "bold"), "   ")
    line.append(f"reward {number(reward)}" if reward == 0 else f"reward {reward:+.4g}", style=style)
    line.append(f"   {score}", style=QUIET)
    if advantage is not None:
        line.append(f"   advantage {advantage:+.3f}", style="magenta")
    return Padding(line, (0, 0, 1, 0))


def _style(episode: Episode) -> str:
    """The colour of a result."""
    return "green" if episode.won else "red" if episode.lost or episode.error else "yellow"


def result(episode: Episode) -> str:
    """How an episode ended."""
    if episode.error is not None:
        return "failed"
    if episode.won:
        return "won"
    if episode.lost:
        return "lost"
    return "over" if episode.terminated else "turn limit"


def summary(episode: Episode) -> str:
    """One episode in one line."""
    turns = f"{len(episode.steps)} turn" + "s" * (len(episode.steps) != 1)
    error = f": {episode.error}" if episode.error else ""
    return f"{result(episode)}, {points(episode.score, episode.max_score)}, {turns}{error}"


def end_panel(episode: Episode) -> RenderableType:
    """The last text and the result."""
    style = _style(episode)
    text, line = Text(tidy(episode.final_observation)), Text(summary(episode), style=f"bold {style}")
    return Panel(Group(text, Text(), line) if text else line, box=box.HEAVY, border_style=style, padding=(0, 1))


def episode_table(episodes: Sequence[Episode]) -> RenderableType:
    """A row for each episode, and the means."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_footer=True)
    count = len(episodes)
    wins = sum(episode.won for episode in episodes)
    mean_turns = sum(len(episode.steps) for episode in episodes) / count
    mean_score = sum(episode.score for episode in episodes) / count
    table.add_column("episode", justify="right", footer="mean")
    table.add_column("game", overflow="fold")
    table.add_column("result", footer=f"{wins} of {count} won")
    table.add_column("score", justify="right", footer=number(mean_score))
    table.add_column("turns", justify="right", footer=number(mean_turns))
    for episode in episodes:
        score = number(episode.score) + ("" if episode.max_score is None else f"/{number(episode.max_score)}")
        outcome = Text(result(episode), style=_style(episode))
        table.add_row(str(episode.index), episode.game, outcome, score, str(len(episode.steps)))
    return table


def verdict_table(counts: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """Numbers of findings by part (rows) and verdict (columns)."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("part")
    for verdict in next(iter(counts.values())):
        table.add_column(verdict, justify="right")
    for part, numbers in counts.items():
        table.add_row(part, *(str(count) for count in numbers.values()))
    return table
