"""Build the help pages of all commands."""

import inspect
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import typer
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from terminal import console

GAME = "GAME"  # the metavar of options whose help page explains GAME strings
GAMES = (
    ("bandit, ipd, completion", "A small game. Settings follow ?, as in completion?reward=sentiment."),
    ("textworld:FAMILY?level=1&seed=7", "A generated game: simple, coin, treasure, cooking, quest, textnav."),
    ("FILE or FOLDER", "A game file, a folder of games, or a manifest.jsonl."),
    ("SUITE:NAME?seed=3", "A game of the suite express, scienceworld or textarena."),
    ("FILE.py:Class or module:Class", "A Gymnasium environment. ?name=value is an argument of its constructor."),
    ("mine/Guess-v0", "A Gymnasium id. --import names the code that registers it."),
    ("...seed=1..20", "Twenty games, in each of these forms that has seeds."),
    ("GAME + GAME", "The games of both."),
)
METAVARS: dict[type, str] = {int: "N", float: "X"}
Row = tuple[str, str, str]  # an option with its argument, its help text, and a remark in brackets


class HelpCommand(TyperCommand):
    """A command whose help comes from `page`. Repeating a single-value option is an error."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for option, count in Counter(self.make_parser(ctx).parse_args(args=list(args))[2]).items():
            if count > 1 and not (option.multiple or option.is_eager or ctx.resilient_parsing):
                name = "/".join([*option.opts, *option.secondary_opts])
                repetitions = "twice" if count == 2 else f"{count} times"
                limit = "it once" if getattr(option, "is_flag", False) else "one value"
                ctx.fail(f"{name} was given {repetitions}; expected {limit}")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        console.show(page(ctx))


class HelpGroup(TyperGroup):
    """The program, whose help page lists the commands."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.note_after_interrupt("stopped")
            raise typer.Exit(130) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, paragraphs(command)[0], "") for name, command in self.commands.items()]
        console.show(page(ctx, {"Commands": rows}, note=f"Explain a command: {shell_command(ctx)} COMMAND --help"))


def shell_command(ctx: Any) -> str:
    """Return the shell command that a user types for a click context."""
    return console.command_line(*ctx.command_path.split()[1:])


def default_remark(value: object) -> str:
    return f"default: {value}" if value != "" else ""


def page(
    ctx: Any, panels: Mapping[str, Sequence[Row]] | None = None, *, skip: Collection[str] = (), note: str = ""
) -> list[RenderableType]:
    """Return a help page. `panels` maps titles to further rows. The page omits parameters in `skip`."""
    rows_by_panel: dict[str, list[Row]] = {}
    for parameter in ctx.command.get_params(ctx):
        if parameter.name not in skip:
            rows_by_panel.setdefault(parameter.rich_help_panel or "Options", []).append(option_row(parameter))
    for title, rows in (panels or {}).items():
        rows_by_panel.setdefault(title, []).extend(rows)
    width = max(len(usage) for rows in rows_by_panel.values() for usage, _, _ in rows)
    pieces = [piece.translate({ord("{"): None, ord("}"): None}) for piece in ctx.command.collect_usage_pieces(ctx)]
    renderables: list[RenderableType] = [
        Text("\n\n".join([" ".join(["Usage:", shell_command(ctx), *pieces]), *paragraphs(ctx.command)]) + "\n")
    ]
    renderables += [_panel(title, rows, width) for title, rows in rows_by_panel.items()]
    if any(usage.endswith(f" {GAME}") for rows in rows_by_panel.values() for usage, _, _ in rows):
        renderables.append(_panel(GAME, [(*game, "") for game in GAMES], max(len(name) for name, _ in GAMES)))
    return [*renderables, Text(note)] if note else renderables


def paragraphs(command: Any) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")]


def option_row(parameter: Any) -> Row:
    value_type = parameter.type_descriptor.annotation
    argument = "" if value_type is bool else parameter.metavar or METAVARS.get(value_type, "TEXT")
    names = sorted(parameter.opts, key=len) if parameter.param_type_name == "option" else ()
    value = "" if value_type is bool or parameter.default is None else parameter.default
    if isinstance(parameter.show_default, str):
        value = parameter.show_default
    remark = "required" if parameter.required else default_remark(value)
    return " ".join([", ".join(names), argument]).strip(), parameter.help or "", remark


def _panel(title: str, rows: Sequence[Row], width: int) -> RenderableType:
    table = Table.grid(Column(width=width, no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for usage, text, remark in rows:
        table.add_row(Text(usage, "bold cyan"), Text(text).append(f" [{remark}]" if remark else "", "dim"))
    return Panel(table, title=title, title_align="left", border_style="dim")
