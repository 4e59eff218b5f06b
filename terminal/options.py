"""The settings of `TrainConfig` as options of a `typer` command, and the help page of such a command.

Each setting becomes an option with the same name: `clip_range` becomes --clip-range. The command receives only the
values that the user gave. Presets and defaults provide the other values. The models in `agents/config.py` check types
and ranges.
"""

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperCommand

from terminal import console

if TYPE_CHECKING:
    from agents.training.presets import Layer

HELP = ("--help", "-h", "--help-all")
# settings that `--help` shows; `--help-all` shows all settings
BASIC = frozenset(
    {
        *("optimizer", "game", "seed", "init", "trunk", "lora"),
        *("episodes", "parallel", "max_turns", "mode", "context", "reward_scale", "win_bonus", "step_cost"),
        *("expert", "beta", "top_fraction"),
        *("epochs", "minibatches", "lr", "value_lr", "q_lr", "critic_warmup"),
        *("gamma", "gae_lambda", "clip_range", "value_coef", "q_coef", "entropy_coef", "kl_coef"),
        *("iterations", "env_steps", "minutes", "stop_success", "probe_prompts", "judge"),
    }
)
Values = dict[str, Any]


def with_config(*, skip: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds an option to a command for each setting that is not in `skip`.

    The command's parameter `given` receives the values that the user gave, by name. Options are added only to the
    command that the user typed, because importing Pydantic and building the options takes 0.1 s.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]

        def wrapped(**words: Any) -> None:
            command(**{parameter.name: words.pop(parameter.name) for parameter in own}, given=parsed(words))

        parameters = own + (_parameters(skip) if command.__name__ in sys.argv[1:2] else [])
        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        wrapped.__dict__["__signature__"] = inspect.Signature(parameters)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


class ConfigCommand(TyperCommand):
    """A command whose help page shows the value of each setting, with the options that the user gave."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from agents.training.presets import merged, with_presets

        asked = [word for word in args if word in HELP]
        ctx.resilient_parsing = bool(asked)  # required options may be missing
        rest = super().parse_args(ctx, [word for word in args if word not in HELP])
        if asked:
            values = merged(with_presets(explicit_layers(parsed(ctx.params), ctx.params)))
            console.show(_help_page(ctx, values, everything="--help-all" in asked))
            ctx.exit()
        return rest


def parsed(words: Mapping[str, Any]) -> Values:
    """Return the settings that the user gave among a command's parsed options, with converted values."""
    from agents.config import FIELDS, parse

    given = {name: word for name, word in words.items() if name in FIELDS and word is not None}
    return {name: word if isinstance(word, bool) else parse(name, word) for name, word in given.items()}


def explicit_layers(given: Values, own: Values) -> "list[Layer]":
    """Return the user's layers of settings: those of the resumed run, of the file of --config and of the options."""
    from agents.imports import merge_imports
    from agents.training import presets

    if own.get("code"):
        given = {**given, "imports": ",".join([given.get("imports", ""), *own["code"]])}
    named = [presets.Layer(presets.GIVEN, _with_code(given))]
    if own.get("config"):
        layer = presets.read_toml(Path(own["config"]))
        named.insert(0, layer._replace(values=_with_code(layer.values)))
        if imports := merge_imports(*(str(layer.values.get("imports", "")) for layer in named)):
            named[-1] = named[-1]._replace(values={**named[-1].values, "imports": imports})
    if own.get("resume") and own.get("folder"):
        from agents.storage.run_folder import SETTINGS, read_config

        folder = Path(own["folder"])
        stored = read_config(folder).flat()
        _check_code(folder, stored, presets.merged(named))
        named.insert(0, presets.Layer(str(folder / SETTINGS), stored))
    return named


def with_optimizers(optimizers: Sequence[str], given: Values) -> tuple[list[str], Values]:
    """Import optimizers that are named as FILE.py:Class+SETTING=VALUE. Return their texts with names, and settings."""
    from agents.imports import optimizer_name

    parts = [optimizer.partition("+") for optimizer in optimizers]
    names = [f"{optimizer_name(name)}{plus}{own}" for name, plus, own in parts]
    code = [given.get("imports", ""), *(name for name, _, _ in parts if ":" in name)]
    return names, {**given, "imports": ",".join(code)} if any(code) else given


def _with_code(values: Mapping[str, Any]) -> Values:
    """Import the code that settings name. Return the settings with the name of an imported optimizer."""
    from agents.imports import load_imports, merge_imports, optimizer_name

    imports, optimizer = str(values.get("imports", "")), str(values.get("optimizer", ""))
    if ":" in optimizer:
        imports, values = f"{imports},{optimizer}", {**values, "optimizer": optimizer_name(optimizer)}
    load_imports(imports)
    return {**values, "imports": merge_imports(imports)} if imports else dict(values)


def _check_code(folder: Path, stored: Values, named: Values) -> None:
    """Check that the user named all code that a run to resume needs. A run's own settings import nothing."""
    from agents.protocol import AgentError

    missing = sorted(_code_in(stored) - _code_in(named))
    if missing:
        again = " ".join(f"--import {shlex.quote(source)}" for source in missing)
        raise AgentError(f"{folder} needs code that is imported only if you name it: add {again}")


def _code_in(values: Values) -> set[str]:
    from games.specs import code_in

    code = code_in(str(values.get("game", "")), str(values.get("judge", "")))
    return code | {entry for entry in str(values.get("imports", "")).split(",") if entry}


def _parameters(skip: tuple[str, ...]) -> list[inspect.Parameter]:
    from actde.config import value_type
    from agents.config import FIELDS

    own = {*skip, "imports"}  # an option of its own
    types = {name: bool if value_type(field) is bool else str for name, field in FIELDS.items() if name not in own}
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, keyword, default=None, annotation=kind | None) for name, kind in types.items()]


def _help_page(ctx: Any, values: Values, *, everything: bool) -> list[RenderableType]:
    """Return the help page: usage, a panel with the command's own options, and a panel for each group of settings."""
    from agents.config import FIELDS, GROUP_OF, NONE

    panels: dict[str, list[tuple[str, str]]] = {"Command": []}
    for option in ctx.command.get_params(ctx):
        if option.name not in FIELDS:
            metavar = "" if option.is_flag else option.metavar or "TEXT"
            panels["Command"].append((f"{', '.join(option.opts)} {metavar}", option.help or ""))
        elif everything or option.name in BASIC:
            value = NONE if values[option.name] is None else values[option.name]
            text = f"{FIELDS[option.name].description} [{value}]".removesuffix(" []")
            panels.setdefault(GROUP_OF[option.name].capitalize(), []).append((_usage(option.name), text))
    width = max(len(usage) for rows in panels.values() for usage, _ in rows)
    note = "[VALUE] is the default with the presets of this game, trunk and optimizer; --dry-run shows its origin."
    return [
        Text(f"Usage: {ctx.command_path} [OPTIONS]\n\n{inspect.cleandoc(ctx.command.help or '')}\n"),
        *(_panel(title, rows, width) for title, rows in panels.items()),
        Text(note if everything else f"{note} --help-all shows all options."),
    ]


def _panel(title: str, rows: Sequence[tuple[str, str]], width: int) -> RenderableType:
    table = Table.grid(Column(width=width, no_wrap=True), padding=(0, 2))
    for usage, text in rows:
        table.add_row(Text(usage, "bold cyan"), Text(text))
    return Panel(table, title=title, title_align="left", border_style="dim")


def _usage(name: str) -> str:
    """Return the option of a setting with its argument, such as "--kl-target X|none"."""
    from actde.config import choices, is_optional, value_type
    from agents.config import FIELDS, NONE

    field, flag = FIELDS[name], name.replace("_", "-")
    if value_type(field) is bool:
        return f"--[no-]{flag}"
    argument = "|".join(choices(field)) or {int: "N", float: "X", str: "TEXT"}[value_type(field)]
    return f"--{flag} {argument}" + (f"|{NONE}" if is_optional(field) else "")
