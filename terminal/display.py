"""What the terminal shows, as renderables of rich and as plain lines. Nothing here prints or reads; `cli.py`
does."""

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
from agents.play.evaluate import Estimate, Evaluation
from agents.protocol import Decision

CANDIDATES = 6
"""How many commands get a bar of their own; the chosen one is always among them."""

MENU = "\n\nWould you like to RESTART"
"""Begins the interpreter's question after the end of a TextWorld game, which nobody here can answer."""

GOOD, BAD, QUIET = "bold green", "bold red", "dim"


def printable(text: str) -> str:
    """The text without what could steer a terminal: control characters are written out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def tidy(text: str) -> str:
    """A game's text for reading: printable, without blank lines in a row and without the menu at the end."""
    return re.sub(r"[ \t]*\n\s*\n", "\n\n", printable(text.strip()).partition(MENU)[0].rstrip())


def number(value: float) -> str:
    """Whole numbers as they are, others with two digits."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def points(score: float, max_score: float | None) -> str:
    return f"score {number(score)}" + ("" if max_score is None else f" of {number(max_score)}")


def heading(*, agent: str, game: str, episode: int) -> RenderableType:
    """The line that an episode begins with."""
    title = Text.assemble((agent, "bold"), (" plays ", QUIET), (game, "bold"), (f"  episode {episode}", QUIET))
    return Padding(Rule(title, style="cyan", align="left"), (1, 0, 0, 0))


def scene(text: str, *, turn: int, score: str) -> RenderableType:
    """What the game says at one turn (counted from 1)."""
    title = Text.assemble(("turn ", QUIET), (str(turn), "bold"))
    return Panel(
        Text(tidy(text) or "(the game says nothing)", style="" if text.strip() else QUIET),
        title=title,
        title_align="left",
        subtitle=Text(score, style=QUIET),
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="cyan",
        padding=(0, 1),
    )


def choices(commands: Sequence[str]) -> RenderableType:
    """The commands that a person may choose from."""
    return Padding(Columns([Text(printable(name), style="cyan") for name in commands], padding=(0, 3)), (0, 2))


def thoughts(decision: Decision) -> RenderableType:
    """The agent's candidates as bars with probabilities and q, the likeliest first, then v and entropy."""
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
    return Group(table, Text("  " + state(decision), style=QUIET))


def _bar(share: float, style: str) -> RenderableType:
    """A bar of 26 columns, filled as far as `share` of 1; no share at all is no bar."""
    return ProgressBar(total=1.0, completed=share, width=26, style="grey19", complete_style=style, finished_style=style)


def candidates(decision: Decision) -> tuple[list[str], list[str]]:
    """The commands worth showing, likeliest first and the chosen one among them, and the others."""
    ranked = sorted(decision.probabilities, key=lambda name: (-decision.probabilities[name], name))
    shown, rest = ranked[:CANDIDATES], ranked[CANDIDATES:]
    if decision.command in rest:
        rest = [shown.pop(), *(name for name in rest if name != decision.command)]
        shown.append(decision.command)
    return shown, rest


def state(decision: Decision) -> str:
    """What the agent thinks of the state: value and entropy, as far as it has them."""
    parts = [
        "" if decision.value is None else f"v {decision.value:+.2f}",
        "" if decision.entropy is None else f"entropy {decision.entropy:.2f} nats",
    ]
    return "   ".join(part for part in parts if part)


def outcome(command: str | None, *, reward: float, score: str, advantage: float | None = None) -> RenderableType:
    """The command that was chosen (None: the reader has just typed it) and what it earned."""
    style = GOOD if reward > 0 else BAD if reward < 0 else QUIET
    line = Text("   ")
    if command is not None:
        line = Text.assemble((" > ", "bold cyan"), (printable(command), "bold"), "   ")
    line.append(f"reward {number(reward)}" if reward == 0 else f"reward {reward:+.4g}", style=style)
    line.append(f"   {score}", style=QUIET)
    if advantage is not None:
        line.append(f"   advantage {advantage:+.3f}", style="magenta")
    return Padding(line, (0, 0, 1, 0))


def result(episode: Episode) -> str:
    """How an episode ended, in a word or two."""
    if episode.error is not None:
        return "broke off"
    if episode.won:
        return "won"
    if episode.lost:
        return "lost"
    return "over" if episode.terminated else "turn limit"


def verdict(episode: Episode) -> str:
    """One episode in one line."""
    turns = f"{len(episode.steps)} turn" + "s" * (len(episode.steps) != 1)
    error = f": {episode.error}" if episode.error else ""
    return f"{result(episode)}, {points(episode.score, episode.max_score)}, {turns}{error}"


def ending(episode: Episode) -> RenderableType:
    """The last text and the verdict."""
    good = episode.won
    style = "green" if good else "red" if episode.lost or episode.error else "yellow"
    text = Text(tidy(episode.final_observation))
    body = (
        Group(text, Text(), Text(verdict(episode), style=f"bold {style}"))
        if text
        else Text(verdict(episode), style=f"bold {style}")
    )
    return Panel(body, box=box.HEAVY, border_style=style, padding=(0, 1))


def tally(episodes: Sequence[Episode]) -> RenderableType:
    """Several episodes as a table, with their means."""
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
        style = "green" if episode.won else "red" if episode.lost or episode.error else "yellow"
        table.add_row(
            str(episode.index), episode.game, Text(result(episode), style=style), score, str(len(episode.steps))
        )
    return table


def verdicts(counts: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """Part -> verdict -> number of findings, as a table."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("part")
    for verdict in next(iter(counts.values())):
        table.add_column(verdict, justify="right")
    for part, found in counts.items():
        table.add_row(part, *(str(count) for count in found.values()))
    return table


def comparison(evaluations: Sequence[Evaluation]) -> RenderableType:
    """Agents beside each other on the same games and seeds."""
    first = evaluations[0]
    seen = "; ".join(
        f"{row.agent} was trained on {row.trained_on} of the games" for row in evaluations if row.trained_on
    )
    table = Table(
        title=f"{first.game}, {first.episodes} episodes each",
        title_justify="left",
        title_style="bold",
        caption="below each mean its 95% interval; entropy in nats per turn" + (f"\n{seen}" if seen else ""),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="bold",
    )
    table.add_column("agent")
    acts = any(row.bonus_share is not None for row in evaluations)
    for name in ("success", "score", "steps", "steps to win", "entropy", *(["turns on the act"] if acts else [])):
        table.add_column(name, justify="right")
    for row in evaluations:
        table.add_row(
            Text(row.agent, style="bold" if row is first else ""),
            interval(row.success_rate, ".0%"),
            interval(row.normalized_score, ".0%"),
            interval(row.steps, ".1f"),
            interval(row.steps_to_win, ".1f"),
            interval(row.entropy, ".2f"),
            *([interval(row.bonus_share, ".0%")] if acts else []),
        )
    return table


def interval(estimate: Estimate | None, form: str) -> RenderableType:
    """The mean, and its bounds below it; a dash where there is nothing to say."""
    if estimate is None:
        return Text("-", style=QUIET)
    text = Text(format(estimate.value, form))
    if estimate.low is not None and estimate.high is not None:
        low, high = format(estimate.low, form).rstrip("%"), format(estimate.high, form)
        text.append(f"\n{low} to {high}", style=QUIET)
    return text
