"""Turns records of settings (`actde.fields`) into options of a command, grouped and explained.

Every field becomes an option of its name (`clip_range`: --clip-range) that is None unless it was given, so the
command knows what was asked for and leaves the rest to presets and defaults. Whether a value is legal is for
the record to say.
"""

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any

import typer

from actde.fields import Record

NONE = "none"
"""What to type for a setting that may be switched off."""
NOTHING = object()
"""What such a setting is parsed to; an option that was not given is None."""


def with_settings(*records: type[Record], skip: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Any]:
    """A decorator: the command's last parameter, `given`, becomes one option for each field of the records.

    The command is called with `given`, a dict of the settings that were asked for; `skip` names fields that
    get no option.
    """

    def decorate(command: Callable[..., None]) -> Any:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        specs = [spec for record in records for spec in fields(record) if spec.name not in skip]

        def wrapped(**values: Any) -> None:
            rest = {parameter.name: values[parameter.name] for parameter in own}
            asked = {spec.name: values[spec.name] for spec in specs if values[spec.name] is not None}
            command(**rest, given={name: None if value is NOTHING else value for name, value in asked.items()})

        parameters = own + [_parameter(spec) for spec in specs]
        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        wrapped.__dict__["__signature__"] = inspect.Signature(parameters)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


def _parameter(spec: Field[Any]) -> inspect.Parameter:
    rule = spec.metadata
    name = f"--{spec.name.replace('_', '-')}"
    text = f"{rule['help']} (default {_shown(spec.default)})"
    if rule["kind"] == "flag":
        declared = f"{name}/--no-{spec.name.replace('_', '-')}"
        option = typer.Option(declared, help=text, rich_help_panel=rule["group"])
        kind: Any = Annotated[bool | None, option]
    else:
        option = typer.Option(
            name, help=text, rich_help_panel=rule["group"], parser=_parser(rule), metavar=_metavar(rule)
        )
        kind = Annotated[Any, option]
    return inspect.Parameter(spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _parser(rule: Any) -> Callable[[str], Any]:
    """Text to a value of the field's type; the record checks it."""

    def parse(value: str) -> Any:
        if rule["kind"] in ("choice", "text"):
            return value
        if rule["optional"] and value == NONE:
            return NOTHING
        try:
            return int(value) if rule["kind"] == "whole" else float(value)
        except ValueError:
            what = "a whole number" if rule["kind"] == "whole" else "a number"
            raise typer.BadParameter(
                f"expected {what}{' or none' if rule['optional'] else ''}, got {value!r}"
            ) from None

    return parse


def _metavar(rule: Any) -> str:
    if rule["kind"] == "choice":
        return "|".join(rule["choices"])
    what = {"whole": "N", "number": "X", "text": "TEXT"}[rule["kind"]]
    return f"{what}|none" if rule.get("optional") else what


def _shown(value: object) -> str:
    return NONE if value is None else str(value)
