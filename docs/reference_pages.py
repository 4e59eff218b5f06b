"""Generated parts of the reference: the commands with their options, the settings, and the presets.

A page holds a comment such as `<!-- generated: commands -->`, which `filled` replaces.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

import cli
from actde.config import choices, describe_values, format_value
from agents.config import GROUPS
from agents.training import presets
from agents.training.presets import ADVENTURES
from games.game_spec import BUILT_IN
from terminal.help_page import GAMES, option_row, paragraphs
from terminal.options import option_usage

WITH_SETTINGS = ("train", "compare")
OWN = {"imports": "--import CODE"}  # options that the commands define themselves


def filled(page: str) -> str:
    """Return a page in which the generated parts replace their comments."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: PARTS[found[1]](), page)


def commands() -> str:
    """Return a section for each command, with its help text and a table of its options."""
    group: Any = typer.main.get_command(cli.app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def game_strings() -> str:
    """Return a table of the forms that a GAME string may have."""
    return _table(["GAME", "meaning"], ([_code(form), text] for form, text in GAMES))


def settings() -> str:
    """Return a section for each group of settings, with a table of its fields."""
    parts = [[f"## {group}", model.__doc__ or "", _fields(model.model_fields)] for group, model in GROUPS.items()]
    return "\n\n".join("\n\n".join(part) for part in parts)


def preset_tables() -> str:
    """Return the tables of the presets, in the order in which they override each other."""
    adventures = f"on {ADVENTURES}"
    rows: list[tuple[str, Mapping[str, Any]]] = [
        *((f"game `{game}`" if game in BUILT_IN else game, values) for game, values in presets.GAMES.items()),
        *((f"trunk `{trunk}`", values) for trunk, values in presets.TRUNKS.items()),
        *((f"game `{game}` with `{trunk}`", values) for (game, trunk), values in presets.GAMES_ON_TRUNKS.items()),
        *((f"optimizer `{name}`", values) for name, values in presets.OPTIMIZERS_ANY_GAME.items()),
        *((f"optimizer `{name}` {adventures}", values) for name, values in presets.OPTIMIZERS.items()),
        *(
            (f"`imitation` or `decision` with `{trunk}` {adventures}", values)
            for trunk, values in presets.IMITATION.items()
        ),
        *((f"`--init` with `{trunk}` {adventures}", values) for trunk, values in presets.WARM_START.items()),
        (f"`imitation` with `--init` {adventures}", presets.WARM_IMITATION),
        ("`--reset-q`, and actde with `--init` from a run without q", presets.UNTRAINED_Q),
        ("`compare --quick`", presets.QUICK),
    ]
    return _table(["preset of", "settings"], ([name, _assignments(values)] for name, values in rows))


PARTS = {"commands": commands, "games": game_strings, "settings": settings, "presets": preset_tables}


def _command(name: str, command: Any) -> str:
    with command.make_context(name, [], resilient_parsing=True) as context:
        rows = [option_row(parameter) for parameter in command.get_params(context)]
    further = ["Every [setting](settings.md) is an option too."] if name in WITH_SETTINGS else []
    options = _table(["option", "meaning", "default"], ([_code(use), text, _default(note)] for use, text, note in rows))
    return "\n\n".join([f"## {name}", *paragraphs(command), *further, options])


def _default(remark: str) -> str:
    return remark.removeprefix("default: ")


def _fields(fields: Mapping[str, Any]) -> str:
    rows = [
        [_code(OWN.get(name, option_usage(name))), field.description, _values(field), _code(_word(field.default))]
        for name, field in fields.items()
    ]
    return _table(["option", "meaning", "values", "default"], rows)


def _values(field: Any) -> str:
    return ", ".join(map(_code, choices(field))) or describe_values(field)


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(_code(f"{name}={_word(value)}") for name, value in values.items())


def _word(value: object) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else format_value(value)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. Vertical bars in its cells are escaped."""
    lines = [[cell.replace("|", r"\|") for cell in row] for row in ([*heads], ["---"] * len(heads), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
